import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { rateLimit } from './rate-limit.ts';

function refusedFor(action: () => void): unknown {
  try {
    action();
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-2160'));
    return error.detail['retryAfterSeconds'];
  }
  return undefined;
}

test('a caller has its burst, then its rate; others are not held up', () => {
  let nowMs = 0;
  const rates = { perCaller: { perSecond: 0.5, burst: 2 }, global: { perSecond: 100, burst: 100 } };
  const limit = rateLimit('joining', rates, () => nowMs);
  limit.take('a');
  limit.take('a');
  assert.equal(
    refusedFor(() => limit.take('a')),
    2,
  );
  limit.take('b');
  nowMs = 1_000;
  assert.equal(
    refusedFor(() => limit.take('a')),
    1,
  );
  nowMs = 2_000;
  limit.take('a');
});

test('all callers together have a limit, and one over its own limit does not use it up', () => {
  const rates = { perCaller: { perSecond: 1, burst: 1 }, global: { perSecond: 1, burst: 3 } };
  const limit = rateLimit('joining', rates, () => 0);
  limit.take('a');
  for (let again = 0; again < 10; again++)
    assert.equal(
      refusedFor(() => limit.take('a')),
      1,
    );
  limit.take('b');
  limit.take('c');
  assert.equal(
    refusedFor(() => limit.take('d')),
    1,
  );
});

test('many callers do not use up memory, and a clock that goes back does no harm', () => {
  let nowMs = 10_000;
  const rates = { perCaller: { perSecond: 1, burst: 1 }, global: { perSecond: 1, burst: 1_000_000 } };
  const limit = rateLimit('joining', rates, () => nowMs);
  const before = process.memoryUsage().heapUsed;
  for (let caller = 0; caller < 30_000; caller++) limit.take(`10.0.${caller}`);
  assert.ok(process.memoryUsage().heapUsed - before < 32 * 2 ** 20);
  nowMs = 0;
  limit.take('fresh');
  assert.equal(
    refusedFor(() => limit.take('fresh')),
    1,
  );
});

test('callers that are refused together are told to come one after the other, and are served when they do', () => {
  let nowMs = 0;
  const rates = { perCaller: { perSecond: 1, burst: 1 }, global: { perSecond: 10, burst: 100 } };
  const limit = rateLimit('joining', rates, () => nowMs);
  const waits = Array.from({ length: 300 }, (_, caller) => Number(refusedFor(() => limit.take(`c${caller}`)) ?? 0));
  assert.deepEqual(
    [0, 99, 100, 109, 110, 299].map((caller) => waits[caller]),
    [0, 0, 1, 1, 2, 20],
  );
  let again = 0;
  for (nowMs = 1_000; nowMs <= 21_000; nowMs += 1_000) {
    for (const [caller, wait] of waits.entries()) {
      if (wait * 1_000 === nowMs && refusedFor(() => limit.take(`c${caller}`)) !== undefined) again += 1;
    }
  }
  assert.equal(again, 0, 'nobody who came when told was refused again');
});

test('nobody is told to wait longer than a minute, or than the rate needs for one', () => {
  const rates = { perCaller: { perSecond: 1, burst: 1 }, global: { perSecond: 0.01, burst: 1 } };
  const limit = rateLimit('joining', rates, () => 0);
  limit.take('first');
  for (let caller = 0; caller < 500; caller++)
    assert.equal(
      refusedFor(() => limit.take(`c${caller}`)),
      100,
    );
});
