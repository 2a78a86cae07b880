import type { SpiffeId, TrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';

/** Whom this process trusts, now. Bundles of several trust domains are held side by side and never merged (SPIFFE Federation 5). */
export interface TrustSource {
  /** The roots of one trust domain: the only ones under which its SVIDs are valid. */
  bundleOf(trustDomain: TrustDomain): TrustBundle | undefined;
  /** True when the certificate (lower-case hex serial) or the whole SPIFFE ID has been revoked. */
  isRevoked(serialHex: string, id: SpiffeId): boolean;
  /** Calls `listener` after each change of bundles or revocations, so that open connections can be judged again. @returns the end of it */
  onChange(listener: () => void): () => void;
  /** The trust domain that this process is of; undefined while it does not know. */
  readonly own: TrustDomain | undefined;
  /** Other trust domains whose bundles are held; absent: none. */
  readonly federated?: readonly TrustDomain[];
  /** Authorities whose SVIDs are good and are to be renewed at once (tainted.ts); absent: none. */
  readonly tainted?: ReadonlySet<string>;
}
