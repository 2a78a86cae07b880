import type { Random } from '../clock.ts';

/** When to renew an SVID and how to wait, all in milliseconds. */
export interface RenewalPlan {
  /** Wall clock time from which on it is to be renewed. */
  readonly dueAtMs: number;
  /** Longest sleep at a stretch, so that a clock that jumped or a suspended machine is noticed. */
  readonly longestSleepMs: number;
}

/** Short: who wakes from a day's suspend, or had its clock set, has to notice at once; a look at the clock costs nothing. */
const longestSleepMs = 5_000;
/** The mesh is to be whole within a minute of the identity service's return, and proxies can wait for the catalog, which waits for its SVID as they do. */
const longestRetryMs = 20_000;
const firstRetryMs = 1_000;

/**
 * Renews at a third of the lifetime, give or take a tenth of that third, so that many nodes started at once spread out and two thirds of the lifetime
 * remain to outlast an outage (reference/reliability.md section 9).
 *
 * @param svid.obtainedAtMs where the lifetime is reckoned from: notBefore is back-dated
 */
export function renewalPlan(svid: { obtainedAtMs: number; notAfterMs: number }, random: Random): RenewalPlan {
  const lifetimeMs = Math.max(0, svid.notAfterMs - svid.obtainedAtMs);
  return {
    dueAtMs: svid.obtainedAtMs + (lifetimeMs / 3) * (0.9 + 0.2 * random()),
    longestSleepMs: Math.min(longestSleepMs, Math.max(50, lifetimeMs / 10)),
  };
}

/** How long to wait before a renewal that is asked of everybody at once: spread over half a minute, or over a tenth of a short lifetime. */
export function hasteMs(lifetimeMs: number, random: Random): number {
  return random() * Math.min(30_000, Math.max(0, lifetimeMs) / 10);
}

/**
 * How long to wait after a failure: full jitter under a bound that doubles from 1 s to 20 s, or to a twentieth of the lifetime where that is shorter, so
 * that an SVID of one minute is tried about every three seconds at the slowest.
 *
 * @param failures how many in a row, from 1
 * @param lifetimeMs of the SVID that is to be renewed; undefined when there never was one
 */
export function retryDelayMs(failures: number, lifetimeMs: number | undefined, random: Random): number {
  const longest = Math.min(longestRetryMs, Math.max(50, (lifetimeMs ?? Infinity) / 20));
  const bound = Math.min(longest, firstRetryMs * 2 ** Math.min(failures - 1, 10));
  // Never zero: a service that is down is not asked in a loop.
  return Math.max(20, bound * random());
}

/**
 * How long to wait for a service that said when to come back (Retry-After): as told, and up to a quarter more, so that those who were told the same do not
 * come at one moment. An SVID in hand bounds it as it bounds `retryDelayMs`.
 */
export function toldDelayMs(toldSeconds: number, lifetimeMs: number | undefined, random: Random): number {
  const longest = Math.max(firstRetryMs, (lifetimeMs ?? Infinity) / 20);
  return Math.min(toldSeconds * 1_000 * (1 + random() / 4), longest);
}
