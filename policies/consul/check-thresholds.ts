import type { CheckStatus } from './check-status.ts';

/** How many results in a row it takes before a check says so. 0 counts as 1. */
export interface Thresholds {
  readonly successBeforePassing: number;
  readonly failuresBeforeWarning: number;
  readonly failuresBeforeCritical: number;
}

/** Results in a row so far. One of them is 0, but before the first result. */
export interface Streak {
  readonly successes: number;
  readonly failures: number;
}

/** Before the first result: both thresholds count as reached, so that the first result is believed at once (Consul). */
export function freshStreak({ successBeforePassing, failuresBeforeCritical }: Thresholds): Streak {
  return { successes: successBeforePassing, failures: failuresBeforeCritical };
}

/**
 * Counts one result. A warning counts as a success (Consul).
 * @returns the streak with it, and what the check says from now on; undefined: what it said before, for the threshold holds the result back
 */
export function countResult(
  thresholds: Thresholds,
  { successes, failures }: Streak,
  result: CheckStatus,
): { readonly streak: Streak; readonly shown: CheckStatus | undefined } {
  if (result === 'critical') {
    const streak = { successes: 0, failures: failures + 1 };
    return { streak, shown: shownFailure(thresholds, streak.failures) };
  }
  const streak = { successes: successes + 1, failures: 0 };
  return { streak, shown: streak.successes >= thresholds.successBeforePassing ? result : undefined };
}

function shownFailure(thresholds: Thresholds, failures: number): CheckStatus | undefined {
  if (failures >= thresholds.failuresBeforeCritical) return 'critical';
  return failures >= thresholds.failuresBeforeWarning ? 'warning' : undefined;
}
