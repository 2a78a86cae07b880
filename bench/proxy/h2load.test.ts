import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadOfLog } from './h2load.ts';

test('h2load’s log: latency by its quantiles, what is no success is an error', () => {
  const rows = Array.from({ length: 101 }, (_, index) => `1700000000000000\t200\t${index * 1_000}`);
  const load = loadOfLog(`${[...rows, '1700000000000000\t503\t50000', '1700000000000000\t-1\t50000'].join('\n')}\n`, 2);
  assert.equal(load.requests, 103);
  assert.equal(load.errors, 2);
  assert.equal(load.p50Ms, 50);
  assert.ok(Math.abs(load.p99Ms - 98.98) < 0.01);
  assert.equal(load.durationSeconds, 2);
});

test('a log without a line is no measurement', () => {
  assert.throws(() => loadOfLog('', 2), /no answer at all/);
});
