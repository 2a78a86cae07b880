import { z } from 'zod';
import { bundleDocumentSchema } from './signed-bundle.ts';

/** Where the identity service serves the succession of its roots, to anybody. */
export const successionPath = '/v1/identity/succession';
/** Steps that are kept and followed at most, the newest. Within 90 days roots change a few times. */
export const maxSuccessionSteps = 16;
/** How long a step leads on, in milliseconds. Nodes that are away for longer than 30 days have to join again anyway, but those of an identity service that was off itself. */
export const successionLifeMs = 90 * 86_400_000;
/** One step: a few roots and a chain. */
export const maxStepBytes = 65_536;

/** JWS header `typ` of a step. Not that of a signed bundle: no bundle that was published can be passed off as a step. */
export const successionType = 'selvedge-succession';

/**
 * One step from the roots that were trusted to those that are next: a compact JWS, ES256, header `{alg:"ES256", typ:"selvedge-succession", x5c:[leaf, …]}`,
 * signed by the SVID of `/svc/selvedge-identity` under the roots of before. `bundle` holds the roots from then on, in SPIFFE's form, and no keys of JWT-SVIDs.
 */
export const successionStepSchema = z.strictObject({
  trust_domain: z.string().max(255),
  /** Unix seconds. */
  iat: z.number().int(),
  bundle: bundleDocumentSchema,
});

/** `GET /v1/identity/succession`: steps, oldest first. */
export const successionAnswerSchema = z.object({
  steps: z.array(z.string().max(maxStepBytes)).max(maxSuccessionSteps),
});
