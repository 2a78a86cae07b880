import type { RetryPolicy } from '#policies/resilience.ts';
import type { Random } from '#runtime/clock.ts';

/**
 * How long to wait before the next try, in whole ms: exponential with full jitter, so that callers who failed together do not come back
 * together.
 *
 * @param attempt tries made so far, from 1
 * @returns 0 to below min(backoffMaxMs, backoffBaseMs * 2^(attempt-1))
 */
export function backoffMs(policy: RetryPolicy, attempt: number, random: Random): number {
  const doublings = Math.min(attempt - 1, 30); // beyond 2^30 every ceiling is reached, and Infinity * 0 is not a number
  return Math.floor(random() * Math.min(policy.backoffMaxMs, policy.backoffBaseMs * 2 ** doublings));
}
