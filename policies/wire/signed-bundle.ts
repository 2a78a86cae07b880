import { z } from 'zod';

/** Most keys in one bundle of a signed bundle. */
export const maxBundleKeys = 64;
/** Most trust domains that one federates with. */
export const maxFederated = 64;

/** A SPIFFE trust bundle document: JWKS with spiffe_sequence and spiffe_refresh_hint. Its keys are read by trust-bundle.ts. */
export const bundleDocumentSchema = z.strictObject({
  keys: z
    .array(
      z.looseObject({
        kty: z.string(),
        use: z.string(),
        x5c: z.array(z.string()).optional(),
        kid: z.string().optional(),
      }),
    )
    .max(maxBundleKeys),
  spiffe_sequence: z.number().int(),
  spiffe_refresh_hint: z.number().int(),
});

/**
 * The trust bundle as identity signs it, so that whoever carries it (the catalog) can't add a root: a compact JWS, ES256, header
 * `{alg:"ES256", typ:"selvedge-bundle", x5c:[leaf, issuing CA, …]}` where the leaf is the SVID of `/svc/selvedge-identity`. It is accepted when that
 * chain verifies against the bundle that the receiver already holds, and `spiffe_sequence` is not lower than the held one.
 */
export const signedBundlePayloadSchema = z.strictObject({
  trust_domain: z.string().max(255),
  /** Unix seconds. */
  iat: z.number().int(),
  bundle: bundleDocumentSchema,
  /**
   * Bundles of the trust domains that this one federates with, each to be used for that trust domain's SVIDs and for no other's. `bundle.spiffe_sequence`
   * counts their changes too.
   */
  federated: z
    .array(z.strictObject({ trust_domain: z.string().max(255), bundle: bundleDocumentSchema }))
    .max(maxFederated),
  /** What is not to be trusted although its chain verifies. */
  revoked: z.strictObject({ serials: z.array(z.string()), spiffe_ids: z.array(z.string()) }),
  /** Authorities (hex SHA-256 of their SubjectPublicKeyInfo) whose SVIDs are still good and are to be renewed at once: a rotation waits for it. */
  tainted: z.array(z.string().length(64)).max(64),
});

export type SignedBundlePayload = z.infer<typeof signedBundlePayloadSchema>;

/** JWS header `typ` of a signed bundle. */
export const signedBundleType = 'selvedge-bundle';
