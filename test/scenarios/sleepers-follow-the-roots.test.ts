import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type RotationView, rotationViewSchema } from '#policies/wire/rotation-api.ts';
import { successionAnswerSchema, successionPath } from '#policies/wire/succession.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall } from './http-call.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';

/**
 * Nodes that sleep for 25 days, during which the root is replaced twice, so that no cross certificate leads on: they follow the signed succession without anybody. From a root
 * that was declared compromised nothing leads on. The tests are one story, in order.
 */

const dayMs = 86_400_000;
/** What is promised is a minute; the rest is for a slow machine. */
const patienceMs = 120_000;

const db = await startHttpApplication();
const { mesh, web } = await setScene({ shiftedClocks: true }, async (mesh) => {
  await mesh.startControlPlane();
  return webCallsDb(mesh, db);
});
const { clocks } = mesh;
assert.ok(clocks !== undefined);

const pause = (ms: number): Promise<false> => new Promise((resolve) => setTimeout(resolve, ms, false));
const reaches = async (): Promise<boolean> => (await httpCall(web.upstream('db'))).status === 200;
const ask = async (method: string, body?: object): Promise<RotationView> => {
  await mesh.readRoots();
  const { text } = await mesh.identity(method, '/v1/identity/rotation', body);
  return rotationViewSchema.parse(JSON.parse(text));
};
const steps = async (): Promise<readonly string[]> =>
  successionAnswerSchema.parse(JSON.parse((await mesh.identity('GET', successionPath)).text)).steps;

/** Replaces the root without waiting for anybody. @returns the new one */
async function replaceRoot(more: object = {}): Promise<string> {
  const before = (await ask('GET')).active.root;
  await ask('POST', { target: 'root', ...more });
  await waitFor(
    'the old root to be gone',
    async () => {
      const { state } = await ask('GET');
      if (state === 'idle') return true;
      await ask('POST', { target: 'root', force: true });
      return pause(200);
    },
    patienceMs,
  );
  const { root } = (await ask('GET')).active;
  assert.notEqual(root, before);
  return root;
}

test('two roots later, a frozen node and one that was off find to the new root by themselves', async (t) => {
  await waitFor('web to be allowed', reaches, 20_000);
  mesh.child('web').signal('SIGSTOP');
  await mesh.kill('db', 'SIGTERM');
  await replaceRoot();
  await replaceRoot();
  assert.equal((await steps()).length, 2);
  // The control plane's own certificates are of before the jump: with a start it has new ones at once.
  for (const name of ['identity', 'catalog']) await mesh.kill(name, 'SIGTERM');
  clocks.shift(25 * dayMs);
  await mesh.startControlPlane();

  const begun = performance.now();
  mesh.child('web').signal('SIGCONT');
  await mesh.restartProxy('db');
  await waitFor('calls to work', async () => (await reaches()) || pause(200), patienceMs);
  t.diagnostic(`healed after ${Math.round(performance.now() - begun)} ms`);
  for (const name of ['web', 'db'])
    await waitFor(`${name} to say so`, () => /replaced while this node was away: followed/.test(mesh.child(name).log));
});

test('what was followed to is kept: another start does not follow again', async () => {
  await mesh.kill('db', 'SIGTERM');
  const before = mesh.child('db').log.length;
  await mesh.restartProxy('db');
  await waitFor('calls to work', async () => (await reaches()) || pause(200), patienceMs);
  assert.ok(!mesh.child('db').log.slice(before).includes('followed'));
});

test('nothing leads on from a root that was declared compromised', async () => {
  await mesh.kill('web', 'SIGTERM');
  const trusted = readFileSync(mesh.path('web', 'trust.jws'), 'utf8');
  await replaceRoot({ compromised: true });
  assert.deepEqual(await steps(), []);
  const before = mesh.child('web').log.length;
  await mesh.restartProxy('web');
  const isRefused = (): boolean => mesh.child('web').log.slice(before).includes('SLV-2015');
  await waitFor('web to have asked for a succession', isRefused, patienceMs);
  assert.equal(readFileSync(mesh.path('web', 'trust.jws'), 'utf8'), trusted);
});
