import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renewalPlan, retryDelayMs, toldDelayMs } from './renewal-plan.ts';

const hour = 3_600_000;

test('renews at a third of the lifetime, give or take a tenth of it', () => {
  const svid = { obtainedAtMs: 1_000_000, notAfterMs: 1_000_000 + 3 * hour };
  const dueAt = (random: number) => renewalPlan(svid, () => random).dueAtMs - svid.obtainedAtMs;
  assert.deepEqual([dueAt(0), dueAt(0.5), Math.round(dueAt(1))], [3_240_000, 3_600_000, 3_960_000]);
  assert.equal(renewalPlan(svid, () => 0.5).longestSleepMs, 5_000);
  assert.equal(renewalPlan({ obtainedAtMs: 0, notAfterMs: 60_000 }, () => 0.5).longestSleepMs, 5_000);
});

test('at the default of 4 h an outage of 150 minutes is outlasted', () => {
  const { dueAtMs } = renewalPlan({ obtainedAtMs: 0, notAfterMs: 4 * hour }, () => 1);
  assert.ok(4 * hour - dueAtMs >= 150 * 60_000);
});

test('retries double from 1 s to 20 s, with full jitter, and keep pace with short lifetimes', () => {
  const bounds = (lifetimeMs: number | undefined) =>
    [1, 2, 3, 7, 1_000].map((failures) => retryDelayMs(failures, lifetimeMs, () => 1));
  assert.deepEqual(bounds(4 * hour), [1_000, 2_000, 4_000, 20_000, 20_000]);
  assert.deepEqual(bounds(undefined), [1_000, 2_000, 4_000, 20_000, 20_000]);
  assert.deepEqual(bounds(60_000), [1_000, 2_000, 3_000, 3_000, 3_000]);
  assert.equal(
    retryDelayMs(5, hour, () => 0),
    20,
  );
});

test('who is told when to come back comes then or a little later, and no later than its SVID can wait', () => {
  const delays = (lifetimeMs: number | undefined) => [0, 1].map((random) => toldDelayMs(40, lifetimeMs, () => random));
  assert.deepEqual(delays(undefined), [40_000, 50_000]);
  assert.deepEqual(delays(4 * hour), [40_000, 50_000]);
  assert.deepEqual(delays(60_000), [3_000, 3_000]);
});
