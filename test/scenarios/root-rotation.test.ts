import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type RotationView, rotationViewSchema } from '#policies/wire/rotation-api.ts';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';

/** The root is replaced under a running mesh: nobody notices but who looks at the certificates; who hangs is waited for, and named. */

const db = await startHttpApplication();
const { mesh, web, dbProxy } = await setScene({}, async (mesh) => {
  mesh.addIdentityFlags('--svid-ttl', '1m', '--rotation-deadline', '3s', '--rotation-settle', '12s');
  await mesh.startControlPlane();
  // Identity is there before the catalog; what it asks the catalog it learns at its next start.
  mesh.addIdentityFlags('--catalog', mesh.catalogUrl);
  await mesh.kill('identity', 'SIGTERM');
  await mesh.startIdentity();
  return webCallsDb(mesh, db);
});

const operator = ['--identity', mesh.identityUrl, '--token-file', mesh.path('identity', 'operator.token')];
const clientFlags = [...operator, '--ca-file', mesh.path('identity', 'ca.pem'), '--output', 'json'];

async function rotation(...command: readonly string[]): Promise<RotationView> {
  const { code, stdout, stderr } = await mesh.command(['identity', ...command, ...clientFlags]);
  assert.equal(code, 0, stderr);
  return rotationViewSchema.parse(JSON.parse(stdout));
}

const view = async (): Promise<RotationView> => {
  const { text } = await mesh.identity('GET', '/v1/identity/rotation');
  return rotationViewSchema.parse(JSON.parse(text));
};
const rootsInFile = (): number =>
  readFileSync(mesh.path('identity', 'ca.pem'), 'utf8').split('BEGIN CERTIFICATE').length - 1;

test('a root rotation under load, with a proxy that hangs: not a request fails, the hung one is named, and the old root is gone', async (t) => {
  const agent = keepingAgent();
  await waitFor(
    'web to be allowed',
    async () => (await httpCall(web.upstream('db'), { agent })).status === 200,
    20_000,
  );
  await mesh.startProxy('sleeper', { service: 'sleeper', upstreams: ['db'] });
  await mesh.isFollowed('sleeper');
  await using load = startLoad(() => unlessOk(httpCall(web.upstream('db'), { agent })), 2);
  await using perConnection = startLoad(() => unlessOk(httpCall(web.upstream('db'))), 1);
  const before = await view();
  assert.equal(before.state, 'idle');

  mesh.child('sleeper').signal('SIGSTOP');
  const begun = performance.now();
  const prepared = await rotation('rotate', 'root');
  assert.equal(prepared.target, 'root');
  const overdue = await waitFor(
    'the deadline to pass, and all but one to have answered',
    async () => {
      const now = await view();
      const { overdue, missing = [] } = now.waitingFor ?? {};
      return overdue === true && missing.length === 1 ? now : undefined;
    },
    20_000,
  );
  assert.equal(overdue.state, 'published');
  assert.deepEqual(overdue.waitingFor?.missing, ['sleeper-host/sleeper']);
  assert.equal(rootsInFile(), 2);
  t.diagnostic(`named after ${Math.round(performance.now() - begun)} ms`);
  const said = async () => (await mesh.command(['identity', 'rotation', 'status', ...clientFlags.slice(0, -2)])).stderr;
  await waitFor(
    'the command to say so',
    async () => /waits: .*sleeper-host\/sleeper\n.*--force/.test(await said()),
    60_000,
  );

  mesh.child('sleeper').signal('SIGCONT');
  const done = await waitFor(
    'the old root to be gone',
    async () => {
      const now = await view();
      return now.state === 'idle' && now.waitingFor === undefined ? now : undefined;
    },
    60_000,
  );
  t.diagnostic(`done after ${Math.round(performance.now() - begun)} ms`);
  assert.notEqual(done.active.root, before.active.root);
  assert.ok(done.bundleSequence > before.bundleSequence);
  assert.equal(rootsInFile(), 1);
  assert.equal(readdirSync(mesh.path('identity', 'ca')).filter((name) => name.startsWith('root-')).length, 1);
  const [kept, fresh] = [await load.stop(), await perConnection.stop()];
  t.diagnostic(`${kept.calls} calls on kept connections, ${fresh.calls} on new ones`);
  assert.deepEqual([kept.failures, fresh.failures], [[], []]);
  assert.ok(kept.calls > 200 && fresh.calls > 100);
  for (const name of ['web', 'db'])
    assert.doesNotMatch(mesh.child(name).log, /peer refused|handshake failed|"refused while/, `${name} refused nobody`);
  const root = new X509Certificate(readFileSync(mesh.path('identity', 'ca.pem')));
  assert.match(root.subject, /Root/);
  assert.equal((await mesh.status(dbProxy.admin)).ready, true);
});
