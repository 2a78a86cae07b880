import type { SpiffeId } from '#policies/spiffe-id.ts';

/** An X.509-SVID with its private key, as this process holds it. Never logged; immutable: a renewal makes a new one. */
export interface Svid {
  readonly spiffeId: SpiffeId;
  /** PEM: the leaf, then its intermediates up to, not including, the root. */
  readonly chainPem: string;
  /** PKCS#8 PEM of the leaf's private key. */
  readonly keyPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Lower-case hex, as in LeafFacts. */
  readonly serialHex: string;
}

/** Where a socket gets the SVID that it shows. */
export interface SvidSource {
  /** The SVID in use; undefined when there is none that is valid now. */
  readonly current: Svid | undefined;
  /** Calls `listener` with each new SVID, not with the present one. @returns the end of it */
  onChange(listener: (svid: Svid) => void): () => void;
}

/** A source that is set by hand: the server's own SVID in identity, fixed ones in tests. */
export interface SvidHolder extends SvidSource {
  set(svid: Svid): void;
}

/** @param initial the SVID to begin with, if there is one */
export function svidHolder(initial?: Svid): SvidHolder {
  let current = initial;
  const listeners = new Set<(svid: Svid) => void>();
  return {
    get current() {
      return current;
    },
    set(svid) {
      current = svid;
      for (const listener of [...listeners]) listener(svid);
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
