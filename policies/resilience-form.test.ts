import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from './errors/mesh-error.ts';
import { defaultResiliencePolicy } from './resilience.ts';
import { parseResiliencePolicy } from './resilience-form.ts';

test('nothing asked for is the default policy', () => {
  assert.deepEqual(parseResiliencePolicy({}), defaultResiliencePolicy);
});

test('what is given replaces its default and nothing else, at every depth', () => {
  const { retries, breaker } = defaultResiliencePolicy;
  assert.deepEqual(
    parseResiliencePolicy({ connectTimeoutMs: 250, retries: { attempts: 0 }, breaker: { errorRate: 1 } }),
    {
      ...defaultResiliencePolicy,
      connectTimeoutMs: 250,
      retries: { ...retries, attempts: 0 },
      breaker: { ...breaker, errorRate: 1 },
    },
  );
});

test('a whole policy reads back as itself', () => {
  assert.deepEqual(parseResiliencePolicy(JSON.parse(JSON.stringify(defaultResiliencePolicy))), defaultResiliencePolicy);
});

test('unknown fields and values out of bounds are refused by name', () => {
  for (const [partial, field] of [
    [{ retrys: {} }, 'retrys'],
    [{ retries: { attempt: 1 } }, 'attempt'],
    [{ connectTimeoutMs: 0 }, 'connectTimeoutMs'],
    [{ connectTimeoutMs: '5s' }, 'connectTimeoutMs'],
    [{ connectTimeoutMs: Number.NaN }, 'connectTimeoutMs'],
    [{ requestTimeoutMs: 1.5 }, 'requestTimeoutMs'],
    [{ retries: { budgetRatio: 1.1 } }, 'retries.budgetRatio'],
    [{ retries: { on: ['4xx'] } }, 'retries.on.0'],
    [{ retries: { backoffBaseMs: 500 } }, 'backoffMaxMs'],
    [{ breaker: { failureStatuses: [99] } }, 'breaker.failureStatuses.0'],
    [{ outlier: { baseEjectionMs: 400_000 } }, 'maxEjectionMs'],
    [{ balancer: 'ring-hash' }, 'balancer'],
    [{ panicThreshold: 2 }, 'panicThreshold'],
    [{ breaker: { slowCalls: { durationMs: 5 } } }, 'breaker.slowCalls.rate'],
    [{ mirror: { service: '../x', share: 0.1 } }, 'mirror.service'],
    [{ mirror: { service: 'x', share: 0 } }, 'mirror.share'],
    [{ requestLimit: { perSecond: 0, burst: 1 } }, 'requestLimit.perSecond'],
    [null, 'object'],
    [[], 'object'],
  ] as const) {
    assert.throws(
      () => parseResiliencePolicy(partial),
      (error) => isMeshError(error, 'SLV-5005') && error.message.includes(field),
      field,
    );
  }
});
