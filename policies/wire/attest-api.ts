import { z } from 'zod';

/**
 * `POST /v1/identity/attest`: a node joins by what it has already, and binds its key, as with a join token: `proof` is a node proof (identity-api.ts) without
 * `sub`, over the hash of `token` or `statement`. Asking again with the same key is answered the same, so a lost answer costs nothing. Answer: `joinedSchema`.
 */

const key = {
  /** SPKI PEM, EC P-256: the node's own, new key. */
  publicKey: z.string().max(1_024),
  proof: z.string().max(4_096),
} as const;

/** A bearer token, as it stands in a header. Kubernetes' are about 1 KiB, a cloud's with groups may be 10. */
const token = z
  .string()
  .min(16)
  .max(16_384)
  .regex(/^[\x21-\x7e]+$/, 'a token has no white space in it');

export const attestSchema = z.discriminatedUnion('method', [
  z.strictObject({ method: z.literal('jwt'), token, ...key }),
  z.strictObject({
    method: z.literal('vault-token'),
    token,
    /** `token` is a wrapping token with the node's token behind it (Vault's response wrapping). */
    wrapped: z.boolean().default(false),
    ...key,
  }),
  z.strictObject({
    method: z.literal('x509pop'),
    /** PEM: the machine's certificate, then the intermediates below the roots that identity knows. */
    chain: z.string().min(1).max(32_768),
    /** Compact JWS by the key of that certificate, over X509Statement. */
    statement: z.string().min(16).max(8_192),
    ...key,
  }),
]);

/** `POST /v1/identity/attest/challenge`, without a body: what an X509Statement has to hold. Good for one use, within a minute, with this process. */
export const challengeSchema = z.object({ challenge: z.string().min(32).max(256) });

/** What the key of a machine's certificate signs: that the owner of the certificate wants this node key to join this mesh, now. */
export const x509StatementSchema = z.strictObject({
  aud: z.literal('selvedge-identity x509pop'),
  challenge: z.string().max(256),
  /** Hex SHA-256 of the node's public key (SPKI, DER). */
  nodeKey: z.string().length(64),
});

/** How a node can have joined. */
export const attestationMethods = ['join-token', 'jwt', 'vault-token', 'x509pop'] as const;

/** Algorithms by which a statement may be signed, by type of key. */
export const statementAlgorithms = ['ES256', 'ES384', 'EdDSA', 'PS256'] as const;

export type AttestRequest = z.infer<typeof attestSchema>;
export type X509Statement = z.infer<typeof x509StatementSchema>;
export type AttestationMethod = (typeof attestationMethods)[number];
