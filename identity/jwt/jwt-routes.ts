import { createRoute } from '@hono/zod-openapi';
import { type IssuedJwt, issuedJwtSchema, issueJwtSchema, nodeProofHeader } from '#policies/wire/identity-api.ts';
import type { Clock } from '#runtime/clock.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { IdentityRates } from '../identity-config.ts';
import { rateLimit } from '../rate-limit.ts';
import type { IdentityApp } from '../routes/app.ts';
import { answerOf, bodyOf, problems } from '../routes/openapi-parts.ts';
import { shownProof } from '../routes/shown-proof.ts';
import type { TrustPublication } from '../trust-publication.ts';
import type { JwtIssuance } from './jwt-issuance.ts';

const path = '/v1/identity/jwt-svids';

const issueRoute = createRoute({
  method: 'post',
  path,
  summary: 'Issue one JWT-SVID for one service',
  description: `Attested by the header \`${nodeProofHeader}\`, or by mTLS with an SVID of that service.`,
  request: { body: bodyOf(issueJwtSchema) },
  responses: {
    200: answerOf('The token, with the signed trust bundle.', issuedJwtSchema),
    ...problems(400, 401, 403, 429, 503),
  },
});

/** `POST /v1/identity/jwt-svids`. */
export function addJwtRoutes(
  app: IdentityApp,
  parts: {
    readonly issuance: JwtIssuance;
    readonly rate: IdentityRates['issue'];
    readonly trust: TrustPublication;
    readonly own: SvidSource;
    readonly clock: Clock;
  },
): void {
  const { issuance, trust, own } = parts;
  const issuing = rateLimit('JWT-SVIDs', parts.rate, parts.clock);
  app.use(path, async (c, next) => {
    issuing.take(c.env.remoteAddress);
    await shownProof(c);
    await next();
  });
  app.openapi(issueRoute, async (c) => {
    const issued = await issuance.issue({
      request: c.req.valid('json'),
      proof: await shownProof(c),
      peer: c.env.peer,
      remoteAddress: c.env.remoteAddress,
    });
    const answer: IssuedJwt = {
      spiffeId: issued.spiffeId,
      token: issued.token,
      issuedAt: new Date(issued.issuedAtMs).toISOString(),
      expiresAt: new Date(issued.expiresAtMs).toISOString(),
      bundle: await trust.signed(own),
    };
    c.header('cache-control', 'no-store');
    return c.json(answer, 200);
  });
}
