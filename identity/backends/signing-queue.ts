import { MeshError } from '#policies/errors/mesh-error.ts';

/** As many calls at once as there are connections to Vault. */
const maxAtOnce = 8;
/** Calls that wait for one of those. More are told to come back: a caller gives up after 15 s, and what is signed then is signed for nobody. */
const maxWaiting = 128;
const longestWaitSeconds = 30;
/** Signatures a second, until it is known better. */
const assumedRate = 100;

/**
 * Lets so many sign at once that Vault is busy, so many wait that it stays so, and tells the others when to come back: one after the other, at the rate at
 * which signing goes now. Without it a herd that Vault can't serve in time fills the queue with calls that time out, and nobody is served.
 */
export class SigningQueue {
  readonly #monotonicMs: () => number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  #rate = assumedRate;
  /** Callers that were told to come back and are not due yet, as of `#atMs`. */
  #promised = 0;
  #atMs: number;

  /** @param monotonicMs how durations are measured; tests pass their own */
  constructor(monotonicMs: () => number = () => performance.now()) {
    this.#monotonicMs = monotonicMs;
    this.#atMs = monotonicMs();
  }

  /**
   * Runs `sign` when its turn comes, also for a caller that has left meanwhile: what it calls sees that at once.
   * @throws MeshError SLV-2160 with `retryAfterSeconds` when too many wait
   */
  async run<T>(sign: () => Promise<T>): Promise<T> {
    if (this.#running >= maxAtOnce) {
      if (this.#waiting.length >= maxWaiting) throw this.#refusal();
      await new Promise<void>((resolve) => this.#waiting.push(resolve)); // whose turn it is takes over the place
    } else this.#running += 1;
    const begunMs = this.#monotonicMs();
    try {
      const signed = await sign();
      const tookMs = Math.max(this.#monotonicMs() - begunMs, 1);
      this.#rate += ((this.#running * 1_000) / tookMs - this.#rate) / 16;
      return signed;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #refusal(): MeshError {
    const nowMs = this.#monotonicMs();
    this.#promised = Math.max(this.#promised - ((nowMs - this.#atMs) * this.#rate) / 1_000, 0);
    this.#atMs = nowMs;
    const seconds = Math.ceil((this.#waiting.length + this.#promised) / this.#rate);
    const retryAfterSeconds = Math.min(Math.max(seconds, 1), longestWaitSeconds);
    this.#promised = Math.min(this.#promised + 1, longestWaitSeconds * this.#rate);
    return new MeshError(
      'SLV-2160',
      `${this.#waiting.length} requests wait for Vault; try again in ${retryAfterSeconds} s.`,
      {
        detail: { retryAfterSeconds },
      },
    );
  }
}
