import type { Mapping } from './attestation-config.ts';
import type { Claims } from './claims.ts';

/** What a method has found to be true of a node. */
export interface Attested {
  readonly claims: Claims;
  readonly mappings: readonly Mapping[];
  /** Who vouches: the issuer of a JWT, the address of a Vault, the root of a certificate. One line, for people and the audit log; nothing secret. */
  readonly source: string;
  /** Whom for, in the words of who vouches: `sub`, the entity's id, the certificate's fingerprint. */
  readonly subject: string;
  /** The token that was shown attests no other node key until then; absent: what was shown is good once anyway. */
  readonly boundUntilMs?: number;
}
