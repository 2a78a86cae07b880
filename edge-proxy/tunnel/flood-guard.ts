import { errorCode, Http2ConnectionError } from './http2.ts';

/** How often something may happen: `burst` at once, then `perSecond`. */
interface Allowance {
  readonly burst: number;
  readonly perSecond: number;
}

/** How often a peer may do what costs us and helps nobody. RST_STREAM (CVE-2023-44487) is the owner's to say. */
const allowances = {
  /** SETTINGS: each is applied to all streams, and answered. */
  settings: { burst: 64, perSecond: 4 },
  /** PRIORITY, unknown frames, DATA without bytes. */
  control: { burst: 1_000, perSecond: 100 },
  /** PING: gRPC's clients in Go measure with one a round trip, which on one host is thousands a second. */
  pings: { burst: 10_000, perSecond: 10_000 },
  /** Requests and frames that make *us* reset a stream (CVE-2025-8671). */
  faults: { burst: 1_000, perSecond: 100 },
} as const;

/** What is counted. */
export type FloodKind = keyof typeof allowances | 'resets';

/** Token buckets, one a kind and connection. The clock is read only when a bucket runs empty. */
export class FloodGuard {
  readonly #now: () => number;
  readonly #allowances: Readonly<Record<FloodKind, Allowance>>;
  readonly #left: Record<FloodKind, number>;
  readonly #filledAtMs: Record<FloodKind, number>;
  readonly #calm: ((waitMs: number) => void) | undefined;
  #wasted = 0;

  /**
   * @param now  monotonic, ms
   * @param calm has the peer wait that resets more than it may; absent: that is one too many
   */
  constructor(now: () => number, resets: Allowance, calm?: (waitMs: number) => void) {
    this.#now = now;
    this.#calm = calm;
    this.#allowances = { ...allowances, resets };
    const start = now();
    this.#left = {
      settings: allowances.settings.burst,
      control: allowances.control.burst,
      pings: allowances.pings.burst,
      resets: resets.burst,
      faults: allowances.faults.burst,
    };
    this.#filledAtMs = { settings: start, control: start, pings: start, resets: start, faults: start };
  }

  /** Counts one. Throws Http2ConnectionError ENHANCE_YOUR_CALM when it is one too many. */
  count(kind: FloodKind): void {
    if (this.#left[kind] < 1) this.#refill(kind);
    if (this.#left[kind] < 1 && (kind !== 'resets' || this.#calm === undefined)) {
      throw new Http2ConnectionError(errorCode.enhanceYourCalm, `flood of ${kind}`, kind === 'resets');
    }
    this.#left[kind] -= 1;
    this.#wasted += 1;
  }

  /** One helped nobody, and may come as often as it likes. */
  waste(): void {
    this.#wasted += 1;
  }

  /** Frames so far that helped nobody. */
  get wasted(): number {
    return this.#wasted;
  }

  /** All that came at once is counted: has the peer wait until its resets are within their allowance. */
  settle(): void {
    if (this.#left.resets >= 0) return;
    this.#refill('resets');
    if (this.#left.resets < 0) this.#calm?.((-this.#left.resets / this.#allowances.resets.perSecond) * 1_000);
  }

  #refill(kind: FloodKind): void {
    const now = this.#now();
    const { burst, perSecond } = this.#allowances[kind];
    this.#left[kind] = Math.min(burst, this.#left[kind] + ((now - this.#filledAtMs[kind]) / 1_000) * perSecond);
    this.#filledAtMs[kind] = now;
  }
}
