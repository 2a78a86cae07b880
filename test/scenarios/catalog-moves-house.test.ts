import assert from 'node:assert/strict';
import { rmSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { findEtcd, startEtcd } from '#test/etcd.ts';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';

/** The store of the catalog is lost and comes back from a backup; then it moves into etcd. Calls go on all the time. The tests are one story, in order. */

const db = await startHttpApplication();
const { mesh, web } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  return webCallsDb(mesh, db);
});
const agent = keepingAgent();
const file = mesh.path('catalog.backup');
const dataDir = mesh.path('catalog');
const clientFlags = () => [
  ...['--catalog', mesh.catalogUrl, '--ca-file', mesh.path('identity', 'ca.pem')],
  ...['--token-file', mesh.path('catalog', 'operator.token')],
];
const index = async (): Promise<number> =>
  Number((await mesh.catalog('GET', '/v1/connect/intentions')).headers['x-consul-index']);
const allowed = async (): Promise<boolean> => {
  const { text } = await mesh.catalog('GET', '/v1/connect/intentions/check?source=web&destination=db');
  return (JSON.parse(text) as { Allowed: boolean }).Allowed;
};
const calls = startLoad(() => unlessOk(httpCall(web.upstream('db'), { agent })), 1);
let seen = 0;

test('a backup is taken while everything runs, by operators only', async () => {
  await waitFor('calls to be answered', () => calls.calls() > 20, 60_000);
  const refused = await mesh.catalog('GET', '/v1/mesh/backup', undefined, null);
  assert.equal(refused.status, 403, refused.text);
  const made = await mesh.command(['catalog', 'backup', '--out', file, ...clientFlags()]);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stderr, /keys as of index \d+/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const again = await mesh.command(['catalog', 'backup', '--out', file, ...clientFlags()]);
  assert.match(again.stderr, /SLV-1005/);
  await mesh.intend('later', 'db', 'allow');
  seen = await index();
});

test('it is restored where the store was lost, never over one that is there; indexes go on above all that were seen', async () => {
  const restore = ['catalog', 'restore', '--from', file, '--data-dir', dataDir];
  assert.match((await mesh.command(restore)).stderr, /SLV-3511/);
  await mesh.kill('catalog', 'SIGKILL');
  rmSync(dataDir, { recursive: true });
  const restored = await mesh.command(restore);
  assert.equal(restored.code, 0, restored.stderr);
  await mesh.joinTokenFile('selvedge-catalog', mesh.path('catalog.join-token'));
  await mesh.startCatalog();
  assert.equal(await allowed(), true);
  const now = await index();
  assert.ok(now > seen, `${now} is not above ${seen}`);
  seen = now;
  await mesh.knows(web.admin, 'db');
});

const { skip } = await findEtcd();
test('it moves into etcd with one command; indexes go on', { skip }, async (t) => {
  const cluster = await startEtcd({ members: 1 });
  t.after(() => cluster[Symbol.asyncDispose]());
  const etcd = cluster.addresses.flatMap((address) => ['--etcd', address]);
  const move = ['catalog', 'move', '--data-dir', dataDir, ...etcd];
  assert.match((await mesh.command(move)).stderr, /SLV-3508/, 'not while the catalog runs');
  await mesh.kill('catalog', 'SIGTERM');
  const moved = await mesh.command(move);
  assert.equal(moved.code, 0, moved.stderr);
  assert.match((await mesh.command(move)).stderr, /SLV-3511/, 'not twice');
  mesh.addCatalogFlags(...etcd);
  await mesh.startCatalog();
  assert.equal(await allowed(), true);
  const now = await index();
  assert.ok(now > seen, `${now} is not above ${seen}`);
  await mesh.intend('web', 'db', 'deny');
  await waitFor('the deny to hold', async () => (await httpCall(web.upstream('db'))).status === 403, 30_000);
  await mesh.kill('catalog', 'SIGTERM');
});

// A test of its own, so that the calls end whatever became of the tests before, or of etcd: as long as they go on, so does this file.
test('no call failed but those that were denied', async () => {
  const { failures } = await calls.stop();
  assert.ok(
    failures.every((failure) => /403/.test(failure)),
    failures.join('\n'),
  );
});
