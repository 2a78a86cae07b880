import type { AuditLog } from '#runtime/audit/audit-event.ts';

/** Who asked, as far as was known when it was decided. */
type Asker = {
  /** Address of the other end. */
  readonly remote?: string;
  readonly service?: string;
  /** How it proved to be what it is: the kind of attestation. */
  readonly evidence?: string;
  /** ID of the node. */
  readonly node?: string;
};

type Refusal = { readonly code: string; readonly reason: string };

/** What identity records. A new act gets a member here first. */
export type IdentityEvent =
  | (Asker & {
      readonly event: 'svid-issued';
      readonly spiffeId: string;
      /** Lowercase hex. */
      readonly serial: string;
      readonly notAfter: string;
      /** SHA-256 over the SubjectPublicKeyInfo, hex. */
      readonly keySha256: string;
      readonly backend: string;
      /** The backend's own name for this act: Vault's request id. */
      readonly backendRequest?: string;
    })
  | (Asker & Refusal & { readonly event: 'svid-refused' })
  | (Asker & {
      readonly event: 'jwt-svid-issued';
      readonly spiffeId: string;
      readonly audience: readonly string[];
      readonly jti: string;
      readonly kid: string;
      readonly expiresAt: string;
    })
  | (Asker & Refusal & { readonly event: 'jwt-svid-refused' })
  | (Asker & {
      readonly event: 'node-joined';
      readonly node: string;
      readonly name: string;
      readonly services: readonly string[];
      /** `join-token`, or the method of attestation with who vouched and whom for. */
      readonly method: string;
      readonly joinToken?: string;
      readonly source?: string;
      readonly subject?: string;
    })
  | (Asker & Refusal & { readonly event: 'join-refused'; readonly method: string })
  | (Asker & {
      readonly event: 'node-grant-changed';
      readonly node: string;
      readonly name: string;
      readonly services: readonly string[];
    })
  | (Asker & { readonly event: 'node-readmitted'; readonly node: string; readonly name: string })
  | (Asker & {
      readonly event: 'join-token-created';
      readonly joinToken: string;
      readonly services: readonly string[];
      readonly name?: string | undefined;
    })
  | (Asker & { readonly event: 'join-token-withdrawn'; readonly joinToken: string })
  | (Asker & { readonly event: 'node-revoked'; readonly node: string; readonly name: string })
  | (Asker & {
      readonly event: 'revoked';
      readonly revocation: string;
      readonly kind: string;
      readonly what: string;
      readonly reason?: string;
    })
  | (Asker & { readonly event: 'revocation-deleted'; readonly revocation: string; readonly kind: string })
  | {
      readonly event: 'rotation-begun';
      readonly target: string;
      readonly by: string;
      readonly active: string;
      /** Names of the CAs, where another takes over. */
      readonly from?: string;
      readonly to?: string;
    }
  /** A wrong operator token was shown. */
  | {
      readonly event: 'operator-refused';
      readonly remote: string;
      readonly method: string;
      readonly path: string;
    }
  /** So many more, too fast to be recorded one by one. */
  | { readonly event: 'operator-refused-more'; readonly count: number }
  | { readonly event: 'root-compromised'; readonly root: string; readonly by: string }
  /** Of all identity processes that share a store. */
  | { readonly event: 'operator-token-replaced'; readonly by: string }
  | { readonly event: 'rotation-forced'; readonly target: string; readonly state: string; readonly by: string }
  | { readonly event: 'authority-tainted'; readonly by: string }
  | { readonly event: 'jwt-key-changed'; readonly step: string; readonly kid?: string | undefined }
  | (Asker & {
      readonly event: 'federation-created';
      readonly trustDomain: string;
      readonly url: string;
      readonly profile: string;
    })
  | (Asker & { readonly event: 'federation-deleted'; readonly trustDomain: string })
  | { readonly event: 'federated-bundle-changed'; readonly trustDomain: string; readonly bundleSequence: number };

/** The audit log of identity. */
export type IdentityAudit = AuditLog<IdentityEvent>;
