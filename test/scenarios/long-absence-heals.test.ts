import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';
import { isWhole } from './whole-mesh.ts';

/**
 * Who was away for long comes back to a mesh that heals without anybody: the identity service after a month, nodes after a day of sleep. Real processes
 * whose wall clocks are moved. SVIDs live for four hours, as they do by default. The tests are one story, in order.
 */

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** What is promised is a minute; the rest is for a slow machine. */
const promisedMs = 60_000;
const patienceMs = 2 * promisedMs;

const pause = (ms: number): Promise<false> => new Promise((resolve) => setTimeout(resolve, ms, false));

const db = await startHttpApplication();
const { mesh, web } = await setScene({ shiftedClocks: true }, async (mesh) => {
  await mesh.startControlPlane();
  return webCallsDb(mesh, db);
});
const { clocks } = mesh;
assert.ok(clocks !== undefined);

/** @returns seconds until calls work, every SVID is new and every feed is live */
async function healed(): Promise<number> {
  const begun = performance.now();
  await waitFor('the mesh to be whole', async () => (await isWhole(mesh)) || pause(200), patienceMs);
  return Math.round(performance.now() - begun) / 1_000;
}

test('the identity service was off for 30 days; everybody else was not', async (t) => {
  await waitFor('web to be allowed', () => isWhole(mesh), 20_000);
  await mesh.kill('identity', 'SIGTERM');
  clocks.shift(30 * dayMs + hourMs);
  await waitFor('every SVID to have lapsed', async () => !(await mesh.status(web.admin)).ready, patienceMs);
  await mesh.startIdentity();
  t.diagnostic(`healed after ${await healed()} s`);
});

test('nodes slept for 24 hours, the control plane did not', async (t) => {
  for (const name of ['web', 'db']) mesh.child(name).signal('SIGSTOP');
  clocks.shift(dayMs);
  for (const name of ['web', 'db']) mesh.child(name).signal('SIGCONT');
  t.diagnostic(`healed after ${await healed()} s`);
});

test('the whole mesh was switched off for 24 hours', async (t) => {
  await mesh.end();
  clocks.shift(dayMs);
  await mesh.startControlPlane();
  for (const name of ['db', 'web']) await mesh.restartProxy(name);
  t.diagnostic(`healed after ${await healed()} s`);
});
