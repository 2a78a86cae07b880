import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calledBy, settingsFor } from './caller-settings.ts';
import { defaultResiliencePolicy as policy } from './resilience.ts';

test('what a caller says of its calls goes over the policy of who is called; what it leaves out stays', () => {
  assert.equal(calledBy(policy, undefined, 'http'), policy);
  assert.deepEqual(calledBy(policy, {}, 'http'), policy);
  const settings = {
    connectTimeoutMs: 100,
    maxConcurrentRequests: 0,
    maxConnections: 3,
    outlier: { consecutiveFailures: 2, baseEjectionMs: 900_000 },
  };
  for (const [protocol, maxConcurrent] of [
    ['http', 0],
    ['grpc', 0],
    ['tcp', 3],
  ] as const) {
    assert.deepEqual(calledBy(policy, settings, protocol), {
      ...policy,
      connectTimeoutMs: 100,
      maxConcurrent,
      outlier: { ...policy.outlier, consecutiveFailures: 2, baseEjectionMs: 900_000, maxEjectionMs: 900_000 },
    });
  }
  assert.equal(calledBy(policy, { outlier: { enabled: false } }, 'tcp').outlier.enabled, false);
});

test('of an upstream by its name, else what holds for all', () => {
  const [defaults, db] = [{ connectTimeoutMs: 1 }, { connectTimeoutMs: 2 }];
  const calling = { defaults, upstreams: { db } };
  assert.equal(settingsFor(calling, 'db'), db);
  for (const name of ['api', 'constructor', '__proto__']) assert.equal(settingsFor(calling, name), defaults);
  assert.equal(settingsFor({}, 'db'), undefined);
});
