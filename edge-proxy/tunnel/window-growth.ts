/** Below this a round trip counts as this long, ms: on one host the time that handlers take is what is measured. */
const leastRoundTripMs = 1;
/** After this a measured round trip is old, ms. */
const roundTripAgeMs = 5_000;

/**
 * Decides how far the receive windows of a connection's streams grow. A stream that consumes its whole window within two round trips is held back by the
 * window, not by its reader: the window doubles, up to a maximum a stream and a budget for all.
 */
export class WindowGrowth {
  readonly #maxWindow: number;
  #budget: number;
  #roundTripMs: number | undefined;
  #measuredAtMs = Number.NEGATIVE_INFINITY;

  constructor(maxWindow: number, budget: number) {
    this.#maxWindow = maxWindow;
    this.#budget = budget;
  }

  /** Smoothed, ms; falls at once, rises slowly, as queues only ever lengthen a sample. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** A new sample would help. */
  stale(nowMs: number): boolean {
    return nowMs - this.#measuredAtMs > roundTripAgeMs;
  }

  sample(roundTripMs: number, nowMs: number): void {
    this.#measuredAtMs = nowMs;
    const known = this.#roundTripMs ?? roundTripMs;
    this.#roundTripMs = roundTripMs < known ? roundTripMs : known + (roundTripMs - known) / 4;
  }

  /** What to add to a window of `size` bytes that was consumed within `elapsedMs`. */
  grant(size: number, elapsedMs: number): number {
    if (this.#roundTripMs === undefined) return 0;
    if (elapsedMs > 2 * Math.max(this.#roundTripMs, leastRoundTripMs)) return 0;
    const extra = Math.max(0, Math.min(size, this.#maxWindow - size, this.#budget));
    this.#budget -= extra;
    return extra;
  }

  /** A grown stream is gone. */
  release(extra: number): void {
    this.#budget += extra;
  }
}
