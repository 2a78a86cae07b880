import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatGoDuration, parseGoDuration } from './go-duration.ts';

test('reads what time.ParseDuration reads', () => {
  for (const [text, ms] of [
    ['120000ms', 120_000],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1_500],
    ['.5s', 500],
    ['0', 0],
    ['-1s', -1_000],
    ['1µs', 0.001],
    ['1us', 0.001],
    ['10ns', 0.00001],
    ['1m30s500ms', 90_500],
  ] as const) {
    assert.equal(parseGoDuration(text), ms * 1e6, text);
  }
});

test('refuses what time.ParseDuration refuses', () => {
  for (const text of [
    '',
    '10',
    '1d',
    's',
    ' 1s',
    '1s ',
    '1 s',
    '--1s',
    '1s-1s',
    'abc',
    '1e3s',
    '9'.repeat(30).concat('h'),
  ]) {
    assert.equal(parseGoDuration(text), undefined, JSON.stringify(text));
  }
});

test('prints as Duration.String prints', () => {
  for (const [ms, text] of [
    [0, '0s'],
    [10_000, '10s'],
    [1_500, '1.5s'],
    [60_000, '1m0s'],
    [5_400_000, '1h30m0s'],
    [250, '250ms'],
    [0.001, '1µs'],
  ] as const) {
    assert.equal(formatGoDuration(ms * 1e6), text);
  }
});
