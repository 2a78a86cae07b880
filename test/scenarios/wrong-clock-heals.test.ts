import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';
import { isWhole, webReachesDb } from './whole-mesh.ts';

/**
 * A clock that is wrong, and then right again: of the identity service, of one node, of everybody; by an hour, by five minutes. Real processes whose wall clocks are set
 * while they run. While it is wrong somebody may be refused; once it is right nobody has to do anything. The tests are one story, in order.
 */

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
/** What is promised is a minute; the rest is for a slow machine. */
const patienceMs = 2 * minuteMs;
const pause = (ms: number): Promise<false> => new Promise((resolve) => setTimeout(resolve, ms, false));

const db = await startHttpApplication();
const { mesh, web } = await setScene({ shiftedClocks: true }, async (mesh) => {
  await mesh.startControlPlane();
  return webCallsDb(mesh, db);
});
const { clocks } = mesh;
assert.ok(clocks !== undefined);

/** A newcomer gets its SVID, and an operator his answer: identity serves, with a certificate that is believed now. */
const newcomers = async (): Promise<boolean> => (await mesh.identity('GET', '/v1/identity/nodes')).status === 200;

/** @returns seconds until calls work, feeds are live, SVIDs are long-lived and identity is believed */
async function healed(): Promise<number> {
  const begun = performance.now();
  await waitFor(
    'the mesh to be whole',
    async () => ((await isWhole(mesh)) && (await newcomers())) || pause(200),
    patienceMs,
  );
  return Math.round(performance.now() - begun) / 1_000;
}

for (const [what, offMs] of [
  ['an hour ahead', hourMs],
  ['an hour behind', -hourMs],
  ['five minutes behind', -5 * minuteMs],
] as const) {
  test(`the clock of the identity service is ${what}, and it starts anew and renews by it; then it is right again`, async (t) => {
    await waitFor('the mesh to be whole', () => isWhole(mesh), 20_000);
    clocks.shift(offMs, 'identity');
    // What it has is taken from it: it has to make its certificate by the wrong clock.
    await mesh.kill('identity', 'SIGTERM');
    rmSync(mesh.path('identity', 'own-svid.json'), { force: true });
    await mesh.startIdentity();
    assert.ok(await webReachesDb(mesh), 'calls go on');
    clocks.shift(-offMs, 'identity');
    t.diagnostic(`healed after ${await healed()} s`);
  });
}

test('the clock of one node is five hours ahead, so that nothing is good any more, and then right again', async (t) => {
  clocks.shift(5 * hourMs, 'web');
  await waitFor(
    'web to hold its SVID for lapsed',
    async () => !(await mesh.status(web.admin)).ready || pause(200),
    patienceMs,
  );
  clocks.shift(-5 * hourMs, 'web');
  t.diagnostic(`healed after ${await healed()} s`);
});

test('the clock of one node is an hour behind, and then right again', async (t) => {
  clocks.shift(-hourMs, 'web');
  await waitFor('web to renew in vain', () => /SVID not renewed/.test(mesh.child('web').log) || pause(200), patienceMs);
  clocks.shift(hourMs, 'web');
  t.diagnostic(`healed after ${await healed()} s`);
});

test('all clocks go an hour back, together', async (t) => {
  clocks.shift(-hourMs);
  t.diagnostic(`healed after ${await healed()} s`);
});

test('all clocks go an hour forward, together', async (t) => {
  clocks.shift(hourMs);
  t.diagnostic(`healed after ${await healed()} s`);
});
