import { createRoute } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { attestSchema, challengeSchema } from '#policies/wire/attest-api.ts';
import { type Joined, joinedSchema } from '#policies/wire/identity-api.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { CheckedConfig } from '../identity-config.ts';
import type { IssueCounts } from '../issue-counts.ts';
import type { NodeAttestation } from '../node-attestation/node-attestation.ts';
import { hasWithdrawn } from '../nodes.ts';
import type { RateLimit } from '../rate-limit.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { IdentityApp } from './app.ts';
import { answerOf, bodyOf, problems } from './openapi-parts.ts';

/** What nodes without a join token use is made of. */
export interface AttestRouteParts {
  readonly config: Pick<CheckedConfig, 'trustDomain' | 'datacenter'>;
  /** Of joining, by whatever means. */
  readonly joining: RateLimit;
  readonly attestation: NodeAttestation;
  readonly trust: TrustPublication;
  readonly audit: IdentityAudit;
  readonly counts: IssueCounts;
}

const attestRoute = createRoute({
  method: 'post',
  path: '/v1/identity/attest',
  summary: 'Join by a JWT, a Vault token or the certificate of the machine, and bind the key of the node',
  request: { body: bodyOf(attestSchema) },
  responses: { 200: answerOf('The node has joined.', joinedSchema), ...problems(400, 401, 403, 429, 503) },
});
const challengeRoute = createRoute({
  method: 'post',
  path: '/v1/identity/attest/challenge',
  summary: 'A challenge for the key of a certificate (x509pop), good once within a minute',
  responses: { 200: answerOf('The challenge.', challengeSchema), ...problems(400, 429) },
});

/** `POST /v1/identity/attest` and `POST /v1/identity/attest/challenge`. */
export function addAttestRoutes(app: IdentityApp, parts: AttestRouteParts): void {
  const { config, joining, attestation, trust, audit, counts } = parts;
  // Before a body is parsed; and what is over the limit goes into no log, or a flood would fill the disk.
  app.use('/v1/identity/attest', async (c, next) => {
    try {
      joining.take(c.env.remoteAddress);
    } catch (error) {
      if (error instanceof MeshError) counts.refused(error.code);
      throw error;
    }
    await next();
  });

  // Costs no more than its answer: were it limited too, a node would need two requests of its share to join.
  app.openapi(challengeRoute, (c) => c.json({ challenge: attestation.challenge() }, 200));
  app.openapi(attestRoute, async (c) => {
    const request = c.req.valid('json');
    const facts = { remote: c.env.remoteAddress, method: request.method };
    try {
      await audit.ready();
      const node = await attestation.attest(request, c.req.raw.signal);
      const { id, name, services, source, subject } = node;
      if (hasWithdrawn(node)) await trust.refresh();
      const vouched = { ...(source === undefined ? {} : { source }), ...(subject === undefined ? {} : { subject }) };
      await audit.append({ event: 'node-joined', ...facts, node: id, name, services, ...vouched });
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
}
