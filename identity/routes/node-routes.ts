import { createRoute } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import {
  type Issued,
  issuedSchema,
  issueSchema,
  type Joined,
  joinedSchema,
  joinSchema,
  nodeProofHeader,
} from '#policies/wire/identity-api.ts';
import type { Clock } from '#runtime/clock.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { CheckedConfig, IdentityRates } from '../identity-config.ts';
import type { Issuance } from '../issuance.ts';
import type { IssueCounts } from '../issue-counts.ts';
import type { JoinTokens } from '../join-tokens.ts';
import type { NodeProofs } from '../node-proof.ts';
import { hasWithdrawn, readNodeKey } from '../nodes.ts';
import { type RateLimit, rateLimit } from '../rate-limit.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, bodyOf, problems, readyAnswer } from './openapi-parts.ts';
import { shownProof } from './shown-proof.ts';

/** What nodes use is made of. */
export interface NodeRouteParts {
  readonly config: Pick<CheckedConfig, 'trustDomain' | 'datacenter'>;
  /** Of joining, by whatever means. */
  readonly joining: RateLimit;
  readonly rates: IdentityRates;
  readonly tokens: JoinTokens;
  readonly proofs: NodeProofs;
  readonly issuance: Issuance;
  readonly trust: TrustPublication;
  readonly own: SvidSource;
  readonly audit: IdentityAudit;
  readonly counts: IssueCounts;
  readonly clock: Clock;
}

const joinRoute = createRoute({
  method: 'post',
  path: '/v1/identity/join',
  summary: 'Redeem a join token, once, and bind the key of the node',
  request: { body: bodyOf(joinSchema) },
  responses: { 200: answerOf('The node has joined.', joinedSchema), ...problems(400, 401, 403, 409, 429) },
});

const issueRoute = createRoute({
  method: 'post',
  path: '/v1/identity/svids',
  summary: 'Issue one X.509-SVID for one service',
  description: `Attested by the header \`${nodeProofHeader}\`, or by mTLS with the SVID that is to be renewed.`,
  request: { body: bodyOf(issueSchema) },
  responses: {
    200: answerOf('The SVID, with the signed trust bundle.', issuedSchema),
    ...problems(400, 401, 403, 429, 502, 503),
  },
});

/** `POST /v1/identity/join` and `POST /v1/identity/svids`. */
export function addNodeRoutes(app: IdentityApp, parts: NodeRouteParts): void {
  const { config, joining, rates, tokens, proofs, issuance, trust, own, audit, counts, clock } = parts;
  const issuing = rateLimit('SVIDs', rates.issue, clock);

  // Before a body is parsed; and what is over the limit goes into no log, or a flood would fill the disk.
  app.use('/v1/identity/join', async (c, next) => {
    limited(() => joining.take(c.env.remoteAddress));
    await next();
  });
  app.use('/v1/identity/svids', async (c, next) => {
    limited(() => issuing.take(c.env.remoteAddress));
    await shownProof(c);
    await next();
  });

  app.openapi(joinRoute, async (c) => {
    const { token, node, publicKey, proof } = c.req.valid('json');
    const facts = { remote: c.env.remoteAddress, method: 'join-token' };
    try {
      const name = parseServiceName(node);
      const key = readNodeKey(publicKey);
      await proofs.verify(proof, key.key, { nodeId: undefined, content: token });
      await audit.ready();
      const joined = await tokens.redeem(token, name, key);
      const { id, services } = joined.node;
      if (hasWithdrawn(joined.node)) await trust.refresh();
      await audit.append({ event: 'node-joined', ...facts, node: id, name, services, joinToken: joined.tokenId });
      const { trustDomain, datacenter } = config;
      return c.json({ nodeId: id, trustDomain, datacenter, services } satisfies Joined, 200);
    } catch (error) {
      if (error instanceof MeshError) {
        counts.refused(error.code);
        await audit.append({ event: 'join-refused', ...facts, code: error.code, reason: error.message });
      }
      throw error;
    }
  });

  app.openapi(issueRoute, async (c) => {
    const issued = await issuance.issue({
      request: c.req.valid('json'),
      proof: await shownProof(c),
      peer: c.env.peer,
      remoteAddress: c.env.remoteAddress,
      signal: c.req.raw.signal,
    });
    const answer: Issued = {
      spiffeId: issued.spiffeId,
      serial: issued.serialHex,
      chain: issued.chainPem,
      notBefore: new Date(issued.notBeforeMs).toISOString(),
      notAfter: new Date(issued.notAfterMs).toISOString(),
      bundle: await trust.signed(own),
    };
    return readyAnswer(answer);
  });

  function limited(take: () => void): void {
    try {
      take();
    } catch (error) {
      if (error instanceof MeshError) counts.refused(error.code);
      throw error;
    }
  }
}
