import type { RequestLimitPolicy } from '#policies/resilience.ts';
import type { Clock } from '#runtime/clock.ts';

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Callers kept count of at once: whoever comes back after being forgotten begins with a full bucket. */
const maxSources = 4_096;

/** A token bucket for each caller, so that one that asks without measure takes nothing from the others. */
export class RequestLimiter {
  #policy: RequestLimitPolicy | undefined;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new policy; undefined: no limit. What callers have used up stays used up. */
  update(policy: RequestLimitPolicy | undefined): void {
    this.#policy = policy;
    if (policy === undefined) this.#buckets.clear();
  }

  /** @param source who asks, as its SVID says. @returns 0: it may; else in how many ms it may again */
  take(source: string): number {
    const policy = this.#policy;
    if (policy === undefined) return 0;
    const now = this.#clock();
    const bucket = this.#bucket(source, policy, now);
    // A clock set back fills nothing, and takes nothing.
    const passedMs = Math.max(0, now - bucket.atMs);
    bucket.tokens = Math.min(policy.burst, bucket.tokens + (passedMs * policy.perSecond) / 1_000);
    bucket.atMs = now;
    if (bucket.tokens < 1) return Math.max(1, Math.ceil(((1 - bucket.tokens) * 1_000) / policy.perSecond));
    bucket.tokens -= 1;
    return 0;
  }

  #bucket(source: string, { burst }: RequestLimitPolicy, now: number): Bucket {
    const known = this.#buckets.get(source);
    if (known !== undefined) return known;
    if (this.#buckets.size >= maxSources) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    const bucket = { tokens: burst, atMs: now };
    this.#buckets.set(source, bucket);
    return bucket;
  }
}
