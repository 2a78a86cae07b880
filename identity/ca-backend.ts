import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { CertificateRequest } from './certificate-request.ts';
import type { LeafSigner } from './leaf-template.ts';
import type { RotatingAuthorities } from './rotation/rotating-authorities.ts';
import type { AuthorityId } from './rotation/rotation.ts';

/** Which CA signs. */
export type CaBackendKind = 'embedded' | 'vault-leaf' | 'vault-intermediate';

/** What is to be signed: decided by issuance.ts, never by the CSR. */
export interface SigningOrder {
  /** Read and checked; of it the public key is used (and the PEM, by a CA that wants a whole request). */
  readonly request: Pick<CertificateRequest, 'spkiDer' | 'key' | 'pem'>;
  readonly spiffeId: SpiffeId;
  /** DNS names beside it, each allowed by an operator; absent: none. */
  readonly dnsSans?: readonly string[];
  readonly ttlSeconds: number;
}

/** What the CA made of it. Not to be trusted before verify-issued.ts has looked at it. */
export interface SignedChain {
  /** DER, leaf first, up to and not including the root. */
  readonly chain: readonly Uint8Array[];
  /** The CA's own name for this act (Vault's request id), for the audit log. */
  readonly reference?: string;
  /** Which authority signed, where that is known: rotation waits for what hangs on an old one. */
  readonly issuer?: AuthorityId;
  /** Roots that it must chain to, DER, where not any of the backend's will do: one that is published but not yet seen by all is no root to sign under. */
  readonly roots?: readonly Uint8Array[];
}

/** Whether the CA can sign, as far as is known without asking it. */
export type CaHealth =
  | {
      readonly state: 'healthy';
      /** What will become trouble if nobody acts, in words, without a secret. */
      readonly notice?: string;
    }
  | {
      /** `ending`: it signs, but its own end comes nearer and half of the time to act is gone. `unhealthy`: it can not sign. */
      readonly state: 'ending' | 'unhealthy';
      readonly sinceMs: number;
      /** In words, without a secret. */
      readonly reason: string;
    };

/**
 * The one interface to a CA; backends/conformance.ts says what each must do. A backend is closed once.
 * Roots are what *this service* trusts its CA to chain to; they change only by a deliberate act, never by what a CA returns with a certificate.
 */
export interface CaBackend {
  readonly kind: CaBackendKind;
  /** Trust anchors, DER, at least one. */
  readonly roots: readonly Uint8Array[];
  readonly health: CaHealth;
  /** End of life of the CA certificate that signs now; undefined while it is not known. No leaf goes past half of what is left. */
  readonly issuingCaNotAfterMs: number | undefined;
  /** The issuing CA that signs now, where its key is in this process: it signs the CRL too. */
  readonly crlSigner?: LeafSigner | undefined;
  /** When the token ends by which the CA is asked, unless it is renewed; undefined: there is none, or it does not end. */
  readonly tokenEndsAtMs?: number | undefined;
  /** Where this service holds the CA itself and can replace it. Absent: it is rotated where it lives. */
  readonly rotating?: RotatingAuthorities;
  /** Certifies the root of a CA that takes over from this one, so that who knows only ours believes it; DER. Absent: it can not. */
  certifyRoot?(rootDer: Uint8Array): Promise<Uint8Array>;
  /**
   * Signs one leaf.
   * @throws MeshError SLV-2140 (not available now), SLV-2141 (refused), SLV-2144 (login failed)
   */
  sign(order: SigningOrder, signal?: AbortSignal): Promise<SignedChain>;
  close(): Promise<void>;
}
