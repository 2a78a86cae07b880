import { createRoute, z } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, pathOf, trustDomainOf } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { type RevocationView, revocationSchema, revokeSchema } from '#policies/wire/revocation-api.ts';
import { identityServiceName } from '#runtime/svid/open-bundle.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { Svid, SvidSource } from '#runtime/svid/svid.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { Issuance } from '../issuance.ts';
import type { NodeRecord, Nodes } from '../nodes.ts';
import type { Operators } from '../operators.ts';
import type { RevocationRecord, Revocations } from '../revocation/revocations.ts';
import type { HeldSvids } from '../status/held-svids.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, bodyOf, problems } from './openapi-parts.ts';
import { operatorsOnly } from './operators-only.ts';

/** What revoking is made of. */
export interface RevocationRouteParts {
  readonly operator: Operators | undefined;
  readonly revocations: Revocations;
  readonly nodes: Nodes;
  readonly held: HeldSvids;
  readonly trust: TrustPublication;
  readonly issuance: Issuance;
  /** What signs the trust bundle. */
  readonly own: Pick<SvidSource, 'current'>;
  readonly audit: IdentityAudit;
}

const path = '/v1/identity/revocations';
const listRoute = createRoute({
  method: 'get',
  path,
  summary: 'List what is revoked: certificates, SPIFFE IDs, nodes',
  responses: { 200: answerOf('The revocations.', z.array(revocationSchema)), ...problems(401) },
});
const revokeRoute = createRoute({
  method: 'post',
  path,
  summary: 'Revoke a certificate, a SPIFFE ID or a node; it is signed into the trust bundle before this is answered',
  request: { body: bodyOf(revokeSchema) },
  responses: { 200: answerOf('The revocation.', revocationSchema), ...problems(400, 401, 403, 404) },
});
const deleteRoute = createRoute({
  method: 'delete',
  path: `${path}/{id}`,
  summary: 'Take a revocation back',
  request: { params: z.object({ id: z.string().min(1).max(128) }) },
  responses: { 204: { description: 'Done.' }, ...problems(400, 401, 404) },
});

/** `/v1/identity/revocations`, for operators only. */
export function addRevocationRoutes(app: IdentityApp, parts: RevocationRouteParts): void {
  const { operator, revocations, nodes, held, trust, issuance, own, audit } = parts;
  operatorsOnly(app, operator, [path]);

  app.openapi(listRoute, async (c) => {
    const revokedNodes = (await nodes.list()).filter(({ revokedAtMs }) => revokedAtMs !== undefined);
    return c.json([...(await revocations.list()).map(viewOf), ...revokedNodes.map(viewOfNode)], 200);
  });
  app.openapi(revokeRoute, async (c) => {
    const asked = c.req.valid('json');
    const view = await revoke(asked);
    // Recorded first or not, it holds: what an operator takes back must not depend on the room on a disk.
    await trust.refresh();
    const { id, kind, what } = view;
    const reason = asked.reason === undefined ? {} : { reason: asked.reason };
    await audit.append({ event: 'revoked', revocation: id, kind, what, ...reason, remote: c.env.remoteAddress });
    return c.json(view, 200);
  });
  app.openapi(deleteRoute, async (c) => {
    const { id, kind } = await revocations.delete(c.req.valid('param').id);
    await trust.refresh();
    await audit.append({ event: 'revocation-deleted', revocation: id, kind, remote: c.env.remoteAddress });
    return c.body(null, 204);
  });

  async function revoke(asked: z.infer<typeof revokeSchema>): Promise<RevocationView> {
    if ('node' in asked) {
      const node = await nodes.revoke(asked.node);
      held.forget(node.id);
      return viewOfNode(node);
    }
    if ('spiffeId' in asked) return viewOf(await revocations.add(ofId(asked.spiffeId), asked.reason));
    const { serial } = asked;
    requireNotInUse(serial, own.current);
    const live = (await nodes.ofSerial(serial))?.node.live.find((svid) => svid.serial === serial);
    return viewOf(await revocations.add({ kind: 'serial', serial, notAfterMs: live?.notAfterMs }, asked.reason));
  }

  function ofId(text: string) {
    const spiffeId = parseSpiffeId(text);
    if (trustDomainOf(spiffeId) !== trust.own)
      throw new MeshError('SLV-1009', `${spiffeId} is not of ${trust.own}, so it is not ours to revoke.`);
    if (pathOf(spiffeId) === '')
      throw new MeshError(
        'SLV-1009',
        `${spiffeId} is the ID of the trust domain, which no certificate has; a CA is replaced by \`selvedge identity rotate\`.`,
      );
    // Nothing signed by it would be believed any more, its own revocation included.
    if (spiffeId === issuance.idOf(identityServiceName))
      throw new MeshError('SLV-2002', 'The identity service can not revoke itself; rotate the root instead.');
    return { kind: 'spiffe-id', spiffeId } as const;
  }
}

/** Whoever took that bundle would believe nothing more: not the next bundle either, which could take it back. @throws MeshError SLV-2002 */
function requireNotInUse(serial: string, own: Svid | undefined): void {
  if (own === undefined) return;
  const [, ...signers] = certificatesOfPem(own.chainPem);
  if (!signers.some((der) => readCertificate(der).serialHex === serial)) return;
  throw new MeshError(
    'SLV-2002',
    `${serial} is the CA that signs now: everything under it would be refused, the identity service too. Replace it first: \`selvedge identity taint\`, and with Vault another issuer.`,
  );
}

function viewOf(record: RevocationRecord): RevocationView {
  const { id, kind, reason, createdAtMs } = record;
  const isSerial = record.kind === 'serial';
  return {
    id,
    kind,
    what: isSerial ? record.serial : record.spiffeId,
    ...(reason === undefined ? {} : { reason }),
    revokedAt: new Date(createdAtMs).toISOString(),
    ...(isSerial && record.notAfterMs !== undefined ? { until: new Date(record.notAfterMs).toISOString() } : {}),
  };
}

function viewOfNode({ id, name, revokedAtMs = 0 }: NodeRecord): RevocationView {
  return { id: `node-${id}`, kind: 'node', what: id, name, revokedAt: new Date(revokedAtMs).toISOString() };
}
