import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { resilienceSchema } from '#policies/resilience-form.ts';
import { leavesOf } from './schema-leaves.ts';

/** Every knob of a resilience policy, and the test that brings about its case over real sockets and counts what the upstream saw. */

const peace = 'test/scenarios/a-failing-upstream-is-left-in-peace.test.ts';
const two = 'test/scenarios/two-instances-are-better-than-one.test.ts';
const knobs = 'edge-proxy/outbound/resilience-knobs.test.ts';
const exchange = 'edge-proxy/outbound/http-exchange.test.ts';
const routing = 'edge-proxy/outbound/routing.test.ts';

const again: Shown = [knobs, 'what is tried again: by condition, status, method and size of the body'];
const opens: Shown = [
  peace,
  'the breaker opens, leaves the upstream in peace, probes with one call at a time, and closes',
];
const leftOut: Shown = [
  knobs,
  'who fails time after time is left out, but never more than a share of all, and comes back when its time is over',
];
const slow: Shown = [knobs, 'an instance that answers well but slowly is left in peace'];
const mirror: Shown = [routing, 'gets exactly its share, and its failures are counted'];
const limit: Shown = [
  'edge-proxy/inbound/request-limit.test.ts',
  'a caller that asks too often is told when to come back; its proxy neither tries again nor opens a breaker',
];

type Shown = readonly [file: string, title: string];

const shown: Readonly<Record<string, Shown>> = {
  connectTimeoutMs: [exchange, 'of connecting: no handshake'],
  perTryTimeoutMs: [peace, 'a try and a request end in time, with 504, and the upstream is let go'],
  requestTimeoutMs: [peace, 'a try and a request end in time, with 504, and the upstream is let go'],
  idleTimeoutMs: [
    'edge-proxy/http-server-stream.test.ts',
    'an idle connection ends with its time, one at work in the body stays',
  ],
  maxConcurrent: [peace, 'calls beyond the bulkhead are refused at once; those within are not disturbed'],
  balancer: [knobs, 'round-robin keeps to weights; chance reaches all'],
  panicThreshold: [knobs, 'below the panic threshold those that are critical are called, too'],
  'mirror.service': mirror,
  'mirror.share': mirror,
  'requestLimit.perSecond': limit,
  'requestLimit.burst': limit,
  'retries.attempts': [peace, 'what is idempotent is tried again as often as the policy says; a POST goes once'],
  'retries.on': again,
  'retries.statuses': again,
  'retries.backoffBaseMs': [knobs, 'pauses between tries double up to their bound'],
  'retries.backoffMaxMs': [knobs, 'pauses between tries double up to their bound'],
  'retries.budgetRatio': [peace, 'the budget keeps retries from becoming a storm'],
  'retries.budgetMinPerSecond': [
    knobs,
    'a service that is called by two names is not asked for twice as much: bulkhead and retry budget are of the target',
  ],
  'retries.maxBodyBytes': again,
  'retries.retryNonIdempotent': again,
  'breaker.enabled': again,
  'breaker.errorRate': opens,
  'breaker.volumeThreshold': opens,
  'breaker.windowMs': [knobs, 'what failed longer ago than the window is forgotten'],
  'breaker.openMs': opens,
  'breaker.closeAfterSuccesses': opens,
  'breaker.failureStatuses': [exchange, 'which answers are tried again is not the breaker’s to say'],
  'breaker.slowCalls.durationMs': slow,
  'breaker.slowCalls.rate': slow,
  'outlier.enabled': [two, 'or its breaker opens, and the other’s stays closed'],
  'outlier.consecutiveFailures': leftOut,
  'outlier.baseEjectionMs': leftOut,
  'outlier.maxEjectionMs': leftOut,
  'outlier.maxEjectedRatio': leftOut,
};

test('every knob is shown at the upstream by a test that is there', () => {
  assert.deepEqual(leavesOf(resilienceSchema).toSorted(), Object.keys(shown).toSorted());
  for (const [knob, [file, title]] of Object.entries(shown)) {
    const text = readFileSync(join(import.meta.dirname, '..', file), 'utf8');
    assert.ok(text.includes(`test('${title}'`), `${knob}: ${file} has no test '${title}'`);
  }
});
