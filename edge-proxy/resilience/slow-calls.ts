const buckets = 10;

/** Calls of a rolling window, and how many of them were slow: what opossum does not count. */
export class SlowCalls {
  readonly #bucketMs: number;
  /** Rings by bucket: the present one at `#slot`. */
  readonly #calls = new Uint32Array(buckets);
  readonly #slow = new Uint32Array(buckets);
  #slot = 0;
  #turnedMs: number;

  constructor(windowMs: number, nowMs: number) {
    this.#bucketMs = Math.max(1, Math.floor(windowMs / buckets));
    this.#turnedMs = nowMs;
  }

  note(slow: boolean, nowMs: number): void {
    this.#turn(nowMs);
    this.#calls[this.#slot] = (this.#calls[this.#slot] as number) + 1;
    if (slow) this.#slow[this.#slot] = (this.#slow[this.#slot] as number) + 1;
  }

  /** What the window holds. */
  counts(nowMs: number): { calls: number; slow: number } {
    this.#turn(nowMs);
    return { calls: this.#calls.reduce(add, 0), slow: this.#slow.reduce(add, 0) };
  }

  /** A clock set back turns nothing: the window then lasts a little longer. */
  #turn(nowMs: number): void {
    const steps = Math.floor((nowMs - this.#turnedMs) / this.#bucketMs);
    if (steps === 0) return;
    this.#turnedMs = steps < 0 ? nowMs : this.#turnedMs + steps * this.#bucketMs;
    for (let step = 0; step < Math.min(steps, buckets); step++) {
      this.#slot = (this.#slot + 1) % buckets;
      this.#calls[this.#slot] = 0;
      this.#slow[this.#slot] = 0;
    }
  }
}

function add(sum: number, count: number): number {
  return sum + count;
}
