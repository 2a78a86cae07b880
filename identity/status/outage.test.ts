import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { outageOf } from './outage.ts';

const minute = 60_000;
const svid = (issuedAtMs: number, lifeMs = 240 * minute) => ({
  issuedAtMs,
  notAfterMs: issuedAtMs + lifeMs,
  authority: undefined,
});

describe('time to outage, with SVIDs of four hours', () => {
  // What was issued (minutes), now, failing since; expected: minutes to outage, state.
  const table: readonly [
    what: string,
    issued: readonly number[],
    now: number,
    since: number | undefined,
    left: number | undefined,
    state: string,
  ][] = [
    ['nothing issued yet', [], 0, undefined, undefined, 'ok'],
    ['nothing issued and the CA is away: nobody gets one', [], 0, 0, undefined, 'red'],
    ['just issued', [0], 0, undefined, 240, 'ok'],
    ['just before its renewal', [0], 80, undefined, 160, 'ok'],
    ['the oldest counts', [0, 40, 79], 79, undefined, 161, 'ok'],
    ['one that was not renewed at half of its life belongs to a node that is off', [0, 100], 130, undefined, 210, 'ok'],
    ['the CA fails just before a renewal', [0], 80, 80, 160, 'failing'],
    ['half of the budget is left, and a little', [0], 159, 80, 81, 'failing'],
    ['half of the budget is gone', [0], 160, 80, 80, 'red'],
    ['the first SVID has run out', [0], 240, 80, 0, 'red'],
    ['long after', [0], 400, 80, 0, 'red'],
    ['who was off when it began does not count', [-130, 40], 80, 80, 200, 'failing'],
    ['fresh ones only: there is more than the budget', [79], 80, 80, 239, 'failing'],
    ['it comes back', [0, 170], 171, undefined, 239, 'ok'],
  ];
  for (const [what, issued, now, since, left, state] of table) {
    test(`${what}: ${left ?? 'no'} minutes, ${state}`, () => {
      const held = issued.map((at) => svid(at * minute));
      const outage = outageOf(held, now * minute, since === undefined ? undefined : since * minute);
      assert.equal(outage.state, state);
      assert.equal(outage.timeToOutageMs, left === undefined ? undefined : left * minute);
    });
  }

  test('the budget is that of the shortest life', () => {
    const { budgetMs } = outageOf([svid(0), svid(0, minute)], 1, undefined);
    assert.equal(budgetMs, 40_000);
  });
});
