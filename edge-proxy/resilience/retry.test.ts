import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { defaultResiliencePolicy, type RetryPolicy } from '#policies/resilience.ts';
import { backoffMs } from './backoff.ts';
import { Bulkhead } from './bulkhead.ts';
import { isIdempotent } from './idempotency.ts';
import { RetryBudget } from './retry-budget.ts';
import { decideRetry, type FailedTry, type RetryDecision, type RetryQuestion } from './retry-decision.ts';

const policy = defaultResiliencePolicy.retries;
const first = { attempt: 1, answerBegan: false, bodyReplayable: true, remainingMs: 1_000, method: 'GET' };
const status = (code: number): FailedTry => ({ kind: 'status', status: code });

const limited = (by: 'by-proxy' | 'somewhere'): FailedTry => ({ kind: 'status', status: 429, limited: by });

const decisions: readonly (readonly [string, Partial<RetryPolicy>, Partial<RetryQuestion>, RetryDecision])[] = [
  ['GET, no connection', {}, { failed: { kind: 'connect-failure' } }, 'retry'],
  ['POST, no connection: it never arrived', {}, { failed: { kind: 'connect-failure' }, method: 'POST' }, 'retry'],
  ['POST, refused: it never arrived', {}, { failed: { kind: 'refused' }, method: 'POST' }, 'retry'],
  ['GET, reset', {}, { failed: { kind: 'reset' } }, 'retry'],
  ['POST, reset: it may have arrived', {}, { failed: { kind: 'reset' }, method: 'POST' }, 'not-idempotent'],
  ['lower-case get, reset', {}, { failed: { kind: 'reset' }, method: 'get' }, 'not-idempotent'],
  [
    'POST, reset, where the route allows it',
    { retryNonIdempotent: true },
    { failed: { kind: 'reset' }, method: 'POST' },
    'retry',
  ],
  ['GET, timeout, by default', {}, { failed: { kind: 'timeout' } }, 'condition-not-listed'],
  ['GET, timeout, listed', { on: ['timeout'] }, { failed: { kind: 'timeout' } }, 'retry'],
  ['POST, timeout, listed', { on: ['timeout'] }, { failed: { kind: 'timeout' }, method: 'POST' }, 'not-idempotent'],
  ['GET, 503', {}, { failed: status(503) }, 'retry'],
  ['POST, 503', {}, { failed: status(503), method: 'POST' }, 'not-idempotent'],
  ['GET, 500, by default', {}, { failed: status(500) }, 'condition-not-listed'],
  ['GET, 500, listed', { on: ['5xx'] }, { failed: status(500) }, 'retry'],
  ['GET, 505 is no gateway error', { on: ['gateway-error'] }, { failed: status(505) }, 'condition-not-listed'],
  ['GET, 403 of an application', { on: ['5xx', 'gateway-error'] }, { failed: status(403) }, 'condition-not-listed'],
  ['GET, 429', { on: ['5xx'] }, { failed: status(429) }, 'condition-not-listed'],
  [
    'POST, the far proxy’s limit',
    { on: ['5xx'] },
    { failed: limited('by-proxy'), method: 'POST' },
    'condition-not-listed',
  ],
  ['POST, the same, listed', { on: ['envoy-ratelimited'] }, { failed: limited('by-proxy'), method: 'POST' }, 'retry'],
  ['GET, a limit behind it, listed', { on: ['envoy-ratelimited'] }, { failed: limited('somewhere') }, 'retry'],
  [
    'POST, a limit behind it, listed',
    { on: ['envoy-ratelimited'] },
    { failed: limited('somewhere'), method: 'POST' },
    'not-idempotent',
  ],
  ['nothing listed', { on: [] }, { failed: { kind: 'connect-failure' } }, 'condition-not-listed'],
  ['the answer began', { on: ['reset'] }, { failed: { kind: 'reset' }, answerBegan: true }, 'answer-began'],
  ['the second of two retries', {}, { failed: status(503), attempt: 2 }, 'retry'],
  ['a third retry', {}, { failed: status(503), attempt: 3 }, 'attempts-used-up'],
  ['retries off', { attempts: 0 }, { failed: { kind: 'connect-failure' } }, 'attempts-used-up'],
  ['the body is gone', {}, { failed: { kind: 'connect-failure' }, bodyReplayable: false }, 'body-not-replayable'],
  ['the time is up', {}, { failed: status(503), remainingMs: 0 }, 'no-time-left'],
];

describe('decideRetry', () => {
  for (const [name, change, question, decision] of decisions) {
    it(`${name}: ${decision}`, () => {
      assert.equal(decideRetry({ ...policy, ...change }, { ...first, failed: status(200), ...question }), decision);
    });
  }

  it('retries a call that may have arrived only where that is safe or asked for', () => {
    const failures = fc.oneof(
      fc.record({
        kind: fc.constantFrom('connect-failure' as const, 'refused' as const, 'reset' as const, 'timeout' as const),
      }),
      fc.integer({ min: 200, max: 599 }).map(status),
    );
    fc.assert(
      fc.property(
        failures,
        fc.constantFrom('GET', 'POST', 'PATCH', 'CONNECT', 'get', 'X'),
        fc.boolean(),
        fc.nat(5),
        (failed, method, answerBegan, attempt) => {
          const every: RetryPolicy = {
            ...policy,
            on: ['connect-failure', 'refused', 'reset', 'timeout', '5xx', 'gateway-error'],
          };
          if (decideRetry(every, { ...first, failed, method, answerBegan, attempt }) !== 'retry') return;
          assert.ok(!answerBegan && attempt <= policy.attempts);
          assert.ok(isIdempotent(method) || failed.kind === 'connect-failure' || failed.kind === 'refused');
        },
      ),
    );
  });
});

describe('backoffMs', () => {
  it('doubles up to the maximum, with full jitter', () => {
    const highest = [1, 2, 3, 4, 5, 6, 100].map((attempt) => backoffMs(policy, attempt, () => 0.999_999));
    assert.deepEqual(highest, [24, 49, 99, 199, 249, 249, 249]);
    assert.equal(
      backoffMs(policy, 5_000, () => 0),
      0,
    );
    assert.equal(
      backoffMs({ ...policy, backoffBaseMs: 0 }, 5_000, () => 0.5),
      0,
    );
  });
});

describe('RetryBudget', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constant('request' as const) },
    { weight: 6, arbitrary: fc.constant('retry' as const) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 12_000 }) },
    { weight: 1, arbitrary: fc.constantFrom(1_000, -500, -5_000) },
  );

  it('never grants more than ratio and floor, over any sequence and over any stretch of it', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 400 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(5),
        (steps, budgetRatio, budgetMinPerSecond) => {
          let now = 1_000_000;
          const budget = new RetryBudget({ budgetRatio, budgetMinPerSecond }, () => now);
          let requests = 0;
          let granted = 0;
          let seconds = 1;
          for (const next of steps) {
            if (next === 'request') {
              budget.noteRequest();
              requests += 1;
            } else if (next === 'retry') {
              if (budget.take()) granted += 1;
            } else {
              const before = Math.floor(now / 1_000);
              now += next;
              seconds += Math.abs(Math.floor(now / 1_000) - before);
            }
            assert.ok(
              granted <= budgetRatio * requests + budgetMinPerSecond * seconds,
              `${granted} of ${requests} in ${seconds} s`,
            );
            const { requests: recent, earnedRetries } = budget.snapshot();
            assert.ok(recent <= requests && earnedRetries <= granted && recent >= 0 && earnedRetries >= 0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('holds the load at 1.2 when everything fails (G-22)', () => {
    let now = 0;
    const budget = new RetryBudget({ budgetRatio: 0.2, budgetMinPerSecond: 0 }, () => now);
    let calls = 0;
    for (let request = 0; request < 10_000; request++) {
      now += 1;
      budget.noteRequest();
      calls += 1;
      for (let attempt = 0; attempt < 5; attempt++) if (budget.take()) calls += 1;
    }
    assert.ok(calls <= 12_000 && calls > 11_900, `${calls}`);
  });

  it('lets a quiet service retry, and a new policy count', () => {
    let now = 0;
    const budget = new RetryBudget({ budgetRatio: 0.2, budgetMinPerSecond: 2 }, () => now);
    assert.deepEqual([budget.take(), budget.take(), budget.take()], [true, true, false]);
    now = 1_000;
    assert.equal(budget.take(), true);
    budget.update({ budgetRatio: 0, budgetMinPerSecond: 0 });
    assert.equal(budget.take(), false);
  });

  it('forgets requests after ten seconds', () => {
    let now = 0;
    const budget = new RetryBudget({ budgetRatio: 0.5, budgetMinPerSecond: 0 }, () => now);
    budget.noteRequest();
    budget.noteRequest();
    now = 9_999;
    assert.deepEqual([budget.take(), budget.take()], [true, false]);
    budget.noteRequest();
    budget.noteRequest();
    now = 20_000;
    assert.equal(budget.take(), false);
  });
});

describe('Bulkhead', () => {
  it('counts what is in flight', () => {
    const bulkhead = new Bulkhead();
    assert.deepEqual([bulkhead.enter(2), bulkhead.enter(2), bulkhead.enter(2)], [true, true, false]);
    bulkhead.leave();
    assert.equal(bulkhead.enter(2), true);
    bulkhead.leave();
    assert.deepEqual([bulkhead.inFlight, bulkhead.enter(1), bulkhead.enter(0)], [1, false, false]);
    bulkhead.leave();
    assert.throws(
      () => bulkhead.leave(),
      (error) => isMeshError(error, 'SLV-1007'),
    );
  });
});
