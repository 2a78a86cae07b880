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
  /** Tokens of the future that callers were told to come back for: the next one is told to come after them. */
  promised: number;
}

/** Nobody is told to wait longer. */
const longestWaitSeconds = 60;

/** Callers remembered at most. One that is forgotten begins with a full bucket again, which the global rate bounds. */
const maxCallers = 10_000;

/**
 * Limits how often callers may ask: each for itself, and all together. Memory is bounded. Callers that were refused because there are so many of them are
 * told to come back one after the other, at the rate at which they can be served: a thousand that start at once and do as told ask twice, not ten times.
 */
export interface RateLimit {
  /** @throws MeshError SLV-2160 with `retryAfterSeconds` in its detail */
  take(caller: string): void;
}

/** @param what for the message: `joining` */
export function rateLimit(what: string, rates: { perCaller: Rate; global: Rate }, clock: Clock): RateLimit {
  const global: Bucket = { tokens: rates.global.burst, atMs: clock(), promised: 0 };
  // In order of last use: the first is the one to forget.
  const callers = new Map<string, Bucket>();
  return {
    take(caller) {
      const nowMs = clock();
      const bucket = callers.get(caller) ?? { tokens: rates.perCaller.burst, atMs: nowMs, promised: 0 };
      callers.delete(caller);
      callers.set(caller, bucket);
      if (callers.size > maxCallers) {
        for (const oldest of callers.keys()) {
          callers.delete(oldest);
          break;
        }
      }
      // The caller first: one that is over its own limit takes nothing from the others.
      const waitMs = drawn(bucket, rates.perCaller, nowMs) || promised(global, rates.global, nowMs);
      if (waitMs === 0) return;
      const retryAfterSeconds = Math.ceil(waitMs / 1_000);
      throw new MeshError('SLV-2160', `Too many requests for ${what}; try again in ${retryAfterSeconds} s.`, {
        detail: { retryAfterSeconds },
      });
    },
  };
}

/** Takes one token, or promises a later one. @returns 0, or after how many milliseconds that one will be there */
function promised(bucket: Bucket, rate: Rate, nowMs: number): number {
  const passedMs = Math.max(nowMs - bucket.atMs, 0);
  bucket.promised = Math.max(bucket.promised - (passedMs * rate.perSecond) / 1_000, 0);
  const waitMs = drawn(bucket, rate, nowMs);
  if (waitMs === 0) return 0;
  const aheadMs = (bucket.promised * 1_000) / rate.perSecond;
  bucket.promised = Math.min(bucket.promised + 1, longestWaitSeconds * rate.perSecond);
  return Math.min(waitMs + aheadMs, Math.max(longestWaitSeconds * 1_000, waitMs));
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
