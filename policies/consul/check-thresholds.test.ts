import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type CheckStatus, checkStatuses } from './check-status.ts';
import { countResult, freshStreak, type Thresholds } from './check-thresholds.ts';

const names = { p: 'passing', w: 'warning', c: 'critical' } as const;

/** What a check says after each result, `p`, `w` or `c`; `.` while it says nothing new. */
function shownAfter(thresholds: Thresholds, results: string): string {
  let streak = freshStreak(thresholds);
  let shown = '';
  for (const letter of results) {
    const counted = countResult(thresholds, streak, names[letter as keyof typeof names]);
    streak = counted.streak;
    shown += counted.shown === undefined ? '.' : counted.shown.charAt(0);
  }
  return shown;
}

const thresholds = (success: number, warning: number, critical: number): Thresholds => ({
  successBeforePassing: success,
  failuresBeforeWarning: warning,
  failuresBeforeCritical: critical,
});

describe('thresholds of a check', () => {
  const cases: readonly [title: string, Thresholds, results: string, shown: string][] = [
    ['without thresholds every result is said', thresholds(0, 0, 0), 'pcwcp', 'pcwcp'],
    ['the first result is believed, good', thresholds(3, 3, 3), 'pp', 'pp'],
    ['the first result is believed, bad', thresholds(3, 3, 3), 'cc', 'cc'],
    ['failures are held back until they are as many as said', thresholds(0, 3, 3), 'pccc', 'p..c'],
    ['one success between begins the count anew', thresholds(0, 3, 3), 'pccpccc', 'p..p..c'],
    ['successes are held back too', thresholds(2, 0, 0), 'cpp', 'c.p'],
    ['a failure between begins that count anew', thresholds(2, 0, 0), 'cpcpp', 'c.c.p'],
    ['a warning before critical', thresholds(0, 2, 4), 'pccccc', 'p.wwcc'],
    ['a warning from the probe counts as a success', thresholds(2, 0, 0), 'cwwc', 'c.wc'],
    ['a probe that warns stays a warning', thresholds(0, 2, 2), 'wcw', 'w.w'],
  ];
  for (const [title, limits, results, shown] of cases) {
    it(title, () => assert.equal(shownAfter(limits, results), shown));
  }

  it('says critical only after so many failures in a row, passing only after so many successes', () => {
    const limit = fc.integer({ min: 0, max: 4 });
    fc.assert(
      fc.property(
        limit,
        limit,
        limit,
        fc.array(fc.constantFrom(...checkStatuses)),
        (success, warning, more, results) => {
          const limits = thresholds(success, warning, warning + more);
          let streak = freshStreak(limits);
          const seen: CheckStatus[] = [];
          for (const result of results) {
            const counted = countResult(limits, streak, result);
            streak = counted.streak;
            seen.push(result);
            // After both kinds were seen the streaks are real ones.
            const failures = seen.length - 1 - seen.findLastIndex((status) => status !== 'critical');
            const successes = seen.length - 1 - seen.lastIndexOf('critical');
            if (counted.shown === 'critical' && failures < seen.length) {
              assert.ok(failures >= Math.max(1, limits.failuresBeforeCritical));
            }
            if (counted.shown === 'passing' && successes < seen.length) assert.ok(successes >= Math.max(1, success));
            assert.ok(counted.shown === undefined || result === 'critical' || counted.shown === result);
          }
        },
      ),
    );
  });
});
