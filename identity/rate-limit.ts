import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';

/** A token bucket: `burst` at once, refilled at `perSecond`. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

/** Callers remembered at most. One that is forgotten begins with a full bucket again, which the global rate bounds. */
const maxCallers = 10_000;

/** Limits how often callers may ask: each for itself, and all together. Memory is bounded. */
export interface RateLimit {
  /** @throws MeshError SLV-2160 with `retryAfterSeconds` in its detail */
  take(caller: string): void;
}

/** @param what for the message: `joining` */
export function rateLimit(what: string, rates: { perCaller: Rate; global: Rate }, clock: Clock): RateLimit {
  const global: Bucket = { tokens: rates.global.burst, atMs: clock() };
  // In order of last use: the first is the one to forget.
  const callers = new Map<string, Bucket>();
  return {
    take(caller) {
      const nowMs = clock();
      const bucket = callers.get(caller) ?? { tokens: rates.perCaller.burst, atMs: nowMs };
      callers.delete(caller);
      callers.set(caller, bucket);
      if (callers.size > maxCallers) {
        for (const oldest of callers.keys()) {
          callers.delete(oldest);
          break;
        }
      }
      // The caller first: one that is over its own limit takes nothing from the others.
      const waitMs = drawn(bucket, rates.perCaller, nowMs) || drawn(global, rates.global, nowMs);
      if (waitMs === 0) return;
      const retryAfterSeconds = Math.ceil(waitMs / 1_000);
      throw new MeshError('SLV-2160', `Too many requests for ${what}; try again in ${retryAfterSeconds} s.`, {
        detail: { retryAfterSeconds },
      });
    },
  };
}

/** Takes one token. @returns 0, or after how many milliseconds there will be one */
function drawn(bucket: Bucket, rate: Rate, nowMs: number): number {
  // A clock that is set back refills nothing and takes nothing away.
  const passedMs = Math.max(nowMs - bucket.atMs, 0);
  bucket.tokens = Math.min(bucket.tokens + (passedMs * rate.perSecond) / 1_000, rate.burst);
  bucket.atMs = nowMs;
  if (bucket.tokens >= 1) {
    bucket.tokens -= 1;
    return 0;
  }
  return Math.max(((1 - bucket.tokens) * 1_000) / rate.perSecond, 1);
}
