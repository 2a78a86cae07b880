import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadOfLog, summaryOf } from './h2load.ts';

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

test('h2load’s summary: what failed, bytes of bodies, and the CPU time of the shell’s children', () => {
  const output = `requests: 330 total, 340 started, 330 done, 328 succeeded, 2 failed, 1 errored, 0 timeout
status codes: 328 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 42.87MB (44951600) total, 2.22MB (2330688) headers (space savings 96.19%), 31.75MB (32800) data
req/s           :   41569.92    41644.48    41604.14       30.67    50.00%
0m0.000000s 0m0.010000s
1m0.700000s 0m0.900000s
`;
  assert.deepEqual(summaryOf(output), { failed: 2, bodyBytes: 32_800, cpuSeconds: 61.6 });
  assert.throws(() => summaryOf('Killed'), /no result/);
});
