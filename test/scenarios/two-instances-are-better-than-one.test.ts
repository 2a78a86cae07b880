import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { z } from 'zod';
import type { resilienceSchema } from '#policies/resilience-form.ts';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication, status, well } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { breakers, setPolicy } from './resilience.ts';
import { setScene } from './scene.ts';

/** Two instances of db behind a proxy each: load is spread, and the loss of one costs no request. */

const [one, two] = await Promise.all([startHttpApplication(), startHttpApplication()]);
const agent = keepingAgent();
const { mesh, web } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
    mesh.startProxy('db-1', { service: 'db', local: one.address }),
    mesh.startProxy('db-2', { service: 'db', local: two.address }),
  ]);
  await mesh.intend('web', 'db', 'allow');
  await mesh.knows(web.admin, 'db', 2);
  return { web };
});

const off = { breaker: { enabled: false }, outlier: { enabled: false }, retries: { attempts: 0 } };
const retries = { attempts: 2, budgetRatio: 1, budgetMinPerSecond: 1_000, backoffBaseMs: 1, backoffMaxMs: 5 };
const call = (method = 'GET') => httpCall(web.upstream('db'), { agent, method });
const policy = (of: z.input<typeof resilienceSchema>) =>
  setPolicy(mesh, { name: 'web', service: 'web' }, 'db', { ...off, ...of });

beforeEach(async () => {
  for (const each of [one, two]) each.answer = well;
  await policy({});
  await waitFor(
    'web to reach both',
    async () => (await call()).status === 200 && one.count > 0 && two.count > 0,
    20_000,
  );
  for (const each of [one, two]) each.clear();
});

test('round-robin: each gets every other request', async () => {
  for (let sent = 0; sent < 100; sent++) assert.equal((await call()).status, 200);
  assert.ok(Math.abs(one.count - two.count) <= 1, `${one.count} and ${two.count}`);
});

test('least-request: the slow one gets less', async () => {
  await policy({ balancer: 'least-request' });
  one.answer = (outgoing, request) => void setTimeout(() => well(outgoing, request), 250);
  await using load = startLoad(() => unlessOk(call()), 8);
  await waitFor('400 calls', () => load.calls() >= 400, 60_000);
  assert.deepEqual((await load.stop()).failures, []);
  assert.ok(two.count > 2 * one.count, `the slow one ${one.count}, the other ${two.count}`);
});

test('one that fails time after time is left out for a while: every request succeeds on the other', async () => {
  await policy({
    retries,
    outlier: { enabled: true, consecutiveFailures: 5, baseEjectionMs: 60_000, maxEjectedRatio: 0.5 },
  });
  one.answer = status(503);
  for (let sent = 0; sent < 100; sent++) assert.equal((await call()).status, 200);
  assert.equal(one.count, 5, 'five failures in a row, then nothing more');
  assert.equal(two.count, 100);
});

test('or its breaker opens, and the other’s stays closed', async () => {
  await policy({ retries, breaker: { enabled: true, errorRate: 0.5, volumeThreshold: 8, openMs: 60_000 } });
  one.answer = status(503);
  for (let sent = 0; sent < 100; sent++) assert.equal((await call()).status, 200);
  assert.equal(one.count, 8);
  assert.deepEqual((await breakers(web)).map(({ endpoint, state }) => `${endpoint.slice(0, 4)} ${state}`).sort(), [
    'db-1 open',
    'db-2 closed',
  ]);
});

test('drain: SIGTERM of one under load loses no request, not even a POST', async () => {
  await policy({ retries });
  await using gets = startLoad(() => unlessOk(call()), 4);
  await using posts = startLoad(() => unlessOk(call('POST')), 2);
  await waitFor('some load on both', () => one.count > 50 && two.count > 50, 60_000);
  await mesh.child('db-1').end('SIGTERM', 20_000);
  assert.equal(mesh.child('db-1').ended, 'exit code 0');
  const before = two.count;
  await waitFor('further calls', () => two.count > before + 200, 60_000);
  assert.deepEqual([(await gets.stop()).failures, (await posts.stop()).failures], [[], []]);
  await mesh.knows(web.admin, 'db', 1);
});

test('an instance that comes back gets its share again', async () => {
  await mesh.restartProxy('db-1');
  await mesh.knows(web.admin, 'db', 2);
  for (const each of [one, two]) each.clear();
  for (let sent = 0; sent < 20; sent++) assert.equal((await call()).status, 200);
  assert.ok(one.count >= 9 && two.count >= 9, `${one.count} and ${two.count}`);
});
