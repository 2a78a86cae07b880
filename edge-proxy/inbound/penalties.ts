/** How long one whose tunnel was cut for a flood has to stay away, ms. */
const penaltyMs = 1_000;
/** Remembered at once; beyond it the oldest are forgiven. */
const maxRemembered = 1_024;

/**
 * Who was cut for a flood, and stays away for a while: coming again at once would bring a fresh allowance each time. Of one identity it is the one address that is meant:
 * its other instances have done nothing.
 */
export class Penalties {
  readonly #now: () => number;
  /** When each may come again, ms, in that order. */
  readonly #until = new Map<string, number>();

  /** @param now monotonic, ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  add(identity: string, address: string): void {
    const key = peerKey(identity, address);
    this.#until.delete(key);
    this.#until.set(key, this.#now() + penaltyMs);
    this.#forget();
  }

  /** For how long it has to stay away still, ms. */
  leftMs(identity: string, address: string): number {
    if (this.#until.size === 0) return 0;
    const until = this.#until.get(peerKey(identity, address));
    return until === undefined ? 0 : Math.max(0, until - this.#now());
  }

  #forget(): void {
    const now = this.#now();
    for (const [key, until] of this.#until) {
      if (until > now && this.#until.size <= maxRemembered) return;
      this.#until.delete(key);
    }
  }
}

/** One identity at one address, as a key. */
export const peerKey = (identity: string, address: string): string => `${address} ${identity}`;
