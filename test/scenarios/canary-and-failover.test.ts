import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';

/** Two versions of db and a backup: a canary by config entries, pushed live under load, and what is called when nobody of db is left. */

const [old, canary, backup] = await Promise.all([
  startHttpApplication(),
  startHttpApplication(),
  startHttpApplication(),
]);
const all = [old, canary, backup];
const agent = keepingAgent();
const { mesh, web } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db', 'backup');
  const version = (of: string) => ['--service-meta', `version=${of}`];
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
    mesh.startProxy('db-old', { service: 'db', local: old.address, flags: version('1') }),
    mesh.startProxy('db-new', { service: 'db', local: canary.address, flags: version('2') }),
    mesh.startProxy('backup', { service: 'backup', local: backup.address }),
  ]);
  for (const service of ['db', 'backup']) await mesh.intend('web', service, 'allow');
  await mesh.knows(web.admin, 'db', 2);
  return { web };
});

const call = (path = '/') => httpCall(web.upstream('db'), { agent, path });
const entry = (Kind: string, more: object) => mesh.must('PUT', '/v1/config', { Kind, Name: 'db', ...more });
const subset = (version: string) => ({ Filter: `Service.Meta.version == "${version}"` });
const resolver = {
  DefaultSubset: 'v1',
  Subsets: { v1: subset('1'), v2: subset('2') },
  Failover: { '*': { Service: 'backup' } },
};

beforeEach(() => {
  for (const each of all) each.clear();
});

test('a canary: subset, split to the request, and back, while calls go on; none is lost', async () => {
  await waitFor(
    'both versions to let web in',
    async () => (await call()).status === 200 && old.count > 0 && canary.count > 0,
    20_000,
  );
  await using load = startLoad(() => unlessOk(call()), 2);
  await entry('service-resolver', resolver);
  await waitFor(
    'v1 alone',
    async () => {
      canary.clear();
      for (let sent = 0; sent < 10; sent++) await call();
      return canary.count === 0;
    },
    20_000,
  );
  await entry('service-splitter', {
    Splits: [
      { Weight: 80, ServiceSubset: 'v1' },
      { Weight: 20, ServiceSubset: 'v2' },
    ],
  });
  await waitFor('the canary to be called', () => canary.count > 0, 20_000);
  assert.deepEqual((await load.stop()).failures, []);
  for (const each of all) each.clear();
  for (let sent = 0; sent < 500; sent++) assert.equal((await call()).status, 200);
  assert.ok(Math.abs(canary.count - 100) <= 2, `${canary.count} of 500 at 20 %`);
  assert.equal(canary.count + old.count, 500);
  await entry('service-router', {
    Routes: [{ Match: { HTTP: { PathPrefix: '/new/' } }, Destination: { ServiceSubset: 'v2', PrefixRewrite: '/' } }],
  });
  await waitFor(
    'the route to be taken',
    async () => {
      canary.clear();
      await call('/new/x');
      return canary.seen[0]?.path === '/x';
    },
    20_000,
  );
});

test('odd requests pass as soon as the service lets them, and no longer than that', async () => {
  const words = (action: string) => ({
    HTTP: { Incoming: { RequestNormalization: { PathWithEscapedSlashesAction: action } } },
  });
  assert.equal((await call('/repos/a%2Fb')).status, 400);
  await entry('service-defaults', { Protocol: 'http', ...words('KEEP_UNCHANGED') });
  await waitFor('the slash to pass', async () => (await call('/repos/a%2Fb')).status === 200, 20_000);
  assert.ok(all.some(({ seen }) => seen.some(({ path }) => path === '/repos/a%2Fb')));
  assert.match(await (await fetch(`${web.admin}/status`)).text(), /"escapedSlashes":"KEEP_UNCHANGED"/);
  await mesh.must('PUT', '/v1/config', { Kind: 'mesh', ...words('UNESCAPE_AND_REDIRECT') });
  await entry('service-defaults', { Protocol: 'http' });
  await waitFor('the redirect', async () => (await call('/repos/a%2Fb')).status === 307, 20_000);
  await mesh.must('DELETE', '/v1/config/mesh/mesh');
  await waitFor('the slash to be refused', async () => (await call('/repos/a%2Fb')).status === 400, 20_000);
});

test('when the canary goes, its calls go to the backup, which proves that it is the backup', async () => {
  await mesh.kill('db-new', 'SIGKILL');
  for (let sent = 0; sent < 20; sent++) assert.equal((await call('/new/y')).status, 200);
  assert.equal(backup.seen.filter(({ path }) => path === '/y').length, 20);
  await mesh.intend('web', 'backup', 'deny');
  await waitFor('the backup to refuse', async () => (await call('/new/y')).status === 403, 20_000);
  assert.equal((await call('/new/y')).status, 403, 'routing gives no rights');
});
