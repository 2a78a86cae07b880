import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, quantile, ratioToBest, rowsOf, type Sample, tableOf } from './report.ts';

test('the median does not depend on order and takes the mean of two in the middle', () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(median([7]), 7);
  assert.throws(() => median([]));
});

test('quantiles lie between neighbours by proportion', () => {
  assert.equal(quantile([10, 20, 30, 40, 50], 0.25), 20);
  assert.equal(quantile([0, 10], 0.75), 7.5);
  assert.equal(quantile([3, 1, 2], 0), 1);
  assert.equal(quantile([3, 1, 2], 1), 3);
});

test('a ratio above 1 is better for us whatever the direction', () => {
  assert.equal(ratioToBest(300, [100, 150], 'higher'), 2);
  assert.equal(ratioToBest(75, [100, 150], 'higher'), 0.5);
  assert.equal(ratioToBest(2, [8, 4], 'lower'), 2);
  assert.equal(ratioToBest(8, [16, 4], 'lower'), 0.5);
  assert.equal(ratioToBest(8, [], 'lower'), null);
  assert.equal(ratioToBest(0, [4], 'lower'), null, 'of nothing there is no ratio');
  assert.equal(ratioToBest(2, [4], 'neither'), null);
});

const sample = (subject: string, metric: string, better: Sample['better'], values: number[]): Sample => ({
  case: 'c',
  subject,
  metric,
  unit: metric === 'p99' ? 'ms' : metric,
  better,
  values,
});
const samples = [
  sample('selvedge', 'requests/s', 'higher', [10, 30, 20]),
  sample('haproxy', 'requests/s', 'higher', [40, 40, 40]),
  sample('envoy', 'requests/s', 'higher', [5, 5, 500]),
  sample('selvedge', 'p99', 'lower', [2, 2, 2]),
  sample('haproxy', 'p99', 'lower', [3, 3, 3]),
];

test('rows carry medians, and the ratio to the best peer of the same metric on our own rows alone', () => {
  assert.deepEqual(
    rowsOf('proxy', samples).map((row) => [row.subject, row.metric, row.value, row.ratioToBest]),
    [
      ['selvedge', 'requests/s', 20, 0.5],
      ['haproxy', 'requests/s', 40, null],
      ['envoy', 'requests/s', 5, null],
      ['selvedge', 'p99', 2, 1.5],
      ['haproxy', 'p99', 3, null],
    ],
  );
  assert.deepEqual(Object.keys(rowsOf('proxy', samples)[0] ?? {}), [
    'suite',
    'case',
    'subject',
    'metric',
    'unit',
    'value',
    'ratioToBest',
  ]);
});

test('the table shows median, spread and ratio, and leaves out what was not measured', () => {
  const lines = tableOf(samples).split('\n');
  assert.match(lines[0] ?? '', /^c +requests\/s +p99 ms$/);
  assert.match(lines[1] ?? '', /^selvedge +20\.0 \(10\.0-30\.0\) x0\.50 +2\.00 \(2\.00-2\.00\) x1\.50$/);
  assert.match(lines[3] ?? '', /^envoy +5\.00 \(5\.00-500\)$/);
});
