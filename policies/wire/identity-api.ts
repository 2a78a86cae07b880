import { z } from 'zod';
import { attestationMethods } from './attest-api.ts';

/**
 * The contract of the identity service, `/v1/identity/…`: what nodes, services and operators send and get. Errors are problem+json.
 * Field limits are part of the contract (invariant 7).
 */

/** A service that a node may be: an exact name, or a prefix with one trailing `*`. */
export const grantPatternSchema = z
  .string()
  .min(1)
  .max(128)
  .regex(
    /^(?:\*|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[A-Za-z0-9][A-Za-z0-9._-]*\*)$/,
    'must be the name of a service, or the beginning of one and a trailing *',
  );

/** How long a join token may be redeemed, seconds. */
export const joinTokenTtl = { least: 10, most: 604_800, byDefault: 600 } as const;
/** What something is for, for people. */
export const descriptionSchema = z.string().max(256);

/** `POST /v1/identity/join-tokens` (operator). */
export const createJoinTokenSchema = z.strictObject({
  services: z.array(grantPatternSchema).min(1).max(64),
  /** The only node name that may redeem it; absent: any. */
  node: z.string().min(1).max(128).optional(),
  ttlSeconds: z.number().int().min(joinTokenTtl.least).max(joinTokenTtl.most).default(joinTokenTtl.byDefault),
  description: descriptionSchema.optional(),
});

/** Its answer, and (without `token`) an item of the list. */
export const joinTokenSchema = z.object({
  id: z.string(),
  /** The secret itself: in the answer to its creation and never again. */
  token: z.string().optional(),
  services: z.array(z.string()),
  node: z.string().optional(),
  description: z.string().optional(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  /** Node that redeemed it. */
  redeemedBy: z.string().optional(),
});

/**
 * `POST /v1/identity/join`: redeems a join token, once, and binds the node's key. `proof` is a compact JWS (ES256) by the node's key over NodeProof.
 * Redeeming again with the *same* key answers SLV-2103 (409), `nodeId` in its `context`: the node is joined and goes on with its key, so a lost answer costs nothing.
 */
export const joinSchema = z.strictObject({
  token: z.string().min(16).max(256),
  node: z.string().min(1).max(128),
  /** SPKI PEM, EC P-256. */
  publicKey: z.string().max(1_024),
  proof: z.string().max(4_096),
});

export const joinedSchema = z.object({
  nodeId: z.string(),
  trustDomain: z.string(),
  datacenter: z.string(),
  services: z.array(z.string()),
});

/** Claims of a node proof. `iat` within 60 s of the server's clock; `jti` is accepted once. */
export const nodeProofSchema = z.strictObject({
  aud: z.literal('selvedge-identity'),
  iat: z.number().int(),
  jti: z.string().min(16).max(64),
  /** Node id (`POST /v1/identity/svids`), absent when joining. */
  sub: z.string().max(128).optional(),
  /** Hex SHA-256 of the join token (joining) or of the request body (issuing). */
  hash: z.string().length(64),
});

/** Header that carries the proof of a node's key: a compact JWS (ES256) over NodeProof with `sub` and the body's hash. */
export const nodeProofHeader = 'selvedge-node-proof';

/**
 * `POST /v1/identity/svids`: one X.509-SVID for one service. The caller is attested by the node proof header, or by mTLS with the SVID of that very
 * service (renewal), or not at all in `dev`. The ID is decided from the attestation; of the CSR only the public key is used.
 */
export const issueSchema = z.strictObject({
  service: z.string().min(1).max(128),
  /** PKCS#10 PEM. */
  csr: z.string().min(1).max(16_384),
  /** Asked lifetime; clamped to floor and ceiling of the server. */
  ttlSeconds: z.number().int().min(1).max(604_800).optional(),
});

export const issuedSchema = z.object({
  spiffeId: z.string(),
  /** Lower-case hex. */
  serial: z.string(),
  /** PEM: the leaf, then the intermediates up to, not including, the root. */
  chain: z.string(),
  notBefore: z.iso.datetime(),
  notAfter: z.iso.datetime(),
  /** Signed trust bundle (signed-bundle.ts). */
  bundle: z.string(),
});

/**
 * `POST /v1/identity/jwt-svids`: one JWT-SVID for one service, attested as `POST /v1/identity/svids` is. Every audience beyond the first makes a token that one
 * of them can use against the others (JWT-SVID 3.2): ask for one.
 */
export const issueJwtSchema = z.strictObject({
  service: z.string().min(1).max(128),
  audience: z.array(z.string().min(1).max(512)).min(1).max(8),
  /** Asked lifetime; 300 when absent, clamped to 10 and 3,600. */
  ttlSeconds: z.number().int().min(1).max(604_800).optional(),
});

export const issuedJwtSchema = z.object({
  spiffeId: z.string(),
  /** Compact JWS: a bearer token, never to be logged. */
  token: z.string(),
  issuedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  /** Signed trust bundle (signed-bundle.ts), with the key that signed the token. */
  bundle: z.string(),
});

/** `GET /v1/identity/bundle/signed`. `GET /v1/identity/bundle` is the same trust as a plain SPIFFE bundle (JWKS). */
export const signedBundleAnswerSchema = z.object({ jws: z.string() });

/** An item of `GET /v1/identity/nodes`. `GET` and `DELETE /v1/identity/nodes/{id}` show and revoke one, `DELETE /v1/identity/join-tokens/{id}` withdraws a token (204). */
export const nodeSchema = z.object({
  id: z.string(),
  name: z.string(),
  services: z.array(z.string()),
  attestation: z.enum(attestationMethods),
  /** Who vouched for it, and whom for; absent with a join token. */
  source: z.string().optional(),
  subject: z.string().optional(),
  joinedAt: z.iso.datetime(),
  lastIssuedAt: z.iso.datetime().optional(),
  revokedAt: z.iso.datetime().optional(),
});

/** `PUT /v1/identity/nodes/{id}/grant` (operator): what the node may be from now on. SVIDs of what it may not be any more are taken back. Answers the node. */
export const changeGrantSchema = z.strictObject({ services: z.array(grantPatternSchema).min(1).max(64) });

/** `GET /v1/identity/status`. */
export const identityStatusSchema = z.object({
  trustDomain: z.string(),
  datacenter: z.string(),
  backend: z.object({
    kind: z.enum(['embedded', 'vault-leaf', 'vault-intermediate']),
    healthy: z.boolean(),
    /** Since when and why not, in words. */
    reason: z.string().optional(),
  }),
  /** `sha256:HEX` over the SubjectPublicKeyInfo of each root: what --ca-pin takes. */
  rootPins: z.array(z.string()),
  bundleSequence: z.number(),
  issuingCaNotAfter: z.iso.datetime().optional(),
  svidTtlSeconds: z.number(),
  issued: z.number(),
  refused: z.number(),
  issuedLastMinute: z.number(),
  /** `failing`: SVIDs can't be renewed, and there is time; `red`: half of the outage budget is gone. */
  health: z.enum(['ok', 'failing', 'red']),
  /** Why they can't: since when and what, in words. Absent: they can. */
  failures: z.array(z.string()).optional(),
  /** Until the first SVID runs out that can't be renewed: if the CA failed now, or since it did. Absent: nobody holds one. */
  timeToOutageSeconds: z.number().optional(),
  /** What that is at the least while all is well. */
  outageBudgetSeconds: z.number().optional(),
  /** The first end among root, issuing CA and own SVID. */
  earliestExpiry: z.iso.datetime(),
  /** With Vault: until its token ends, unless renewed. */
  vaultTokenSeconds: z.number().optional(),
  /** Where several processes may share the store (`--etcd`): who they are, this one among them. */
  processes: z
    .object({
      /** When the store was last asked. */
      asOf: z.iso.datetime(),
      /** False: it can't be asked now, so this is how it was. */
      current: z.boolean(),
      list: z.array(
        z.object({
          /** Host, and where it serves. */
          name: z.string(),
          /** `lead` serves alone, `member` beside others, `standby` waits until the lead is gone. */
          role: z.enum(['lead', 'member', 'standby']),
          since: z.iso.datetime(),
          /** The revision of the store that its writes are compared with: one that has lost its place writes nothing. */
          fence: z.number(),
          /** The one that answers. */
          self: z.boolean(),
        }),
      ),
    })
    .optional(),
});

export type CreateJoinToken = z.infer<typeof createJoinTokenSchema>;
export type JoinTokenView = z.infer<typeof joinTokenSchema>;
export type JoinRequest = z.infer<typeof joinSchema>;
export type Joined = z.infer<typeof joinedSchema>;
export type NodeProof = z.infer<typeof nodeProofSchema>;
export type IssueRequest = z.infer<typeof issueSchema>;
export type IssueJwtRequest = z.infer<typeof issueJwtSchema>;
export type IssuedJwt = z.infer<typeof issuedJwtSchema>;
export type Issued = z.infer<typeof issuedSchema>;
export type NodeView = z.infer<typeof nodeSchema>;
export type IdentityStatus = z.infer<typeof identityStatusSchema>;
