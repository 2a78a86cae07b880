import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { type HttpApplication, startHttpApplication, status, well } from './application.ts';
import { type Call, httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setPolicy } from './resilience.ts';
import { setScene } from './scene.ts';

/**
 * Two versions of db, a backup, and a name that nobody has: what config entries and policies say of calls, written to the catalog while calls go on, is counted at the
 * instances: a canary under load, redirects, what a route says, who is chosen, and what is called when nobody of db is left.
 */

const [old, canary, backup] = await Promise.all([
  startHttpApplication(),
  startHttpApplication(),
  startHttpApplication(),
]);
const all = [old, canary, backup];
const agent = keepingAgent();
const { mesh, web } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db', 'backup', 'api');
  const version = (of: string, zone: string) => ['--service-meta', `version=${of}`, '--locality', `eu/${zone}`];
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db', 'api'], flags: ['--locality', 'eu/a'] }),
    mesh.startProxy('db-old', { service: 'db', local: old.address, flags: version('1', 'a') }),
    mesh.startProxy('db-new', { service: 'db', local: canary.address, flags: version('2', 'b') }),
    mesh.startProxy('backup', { service: 'backup', local: backup.address }),
  ]);
  for (const service of ['db', 'backup']) await mesh.intend('web', service, 'allow');
  await mesh.knows(web.admin, 'db', 2);
  return { web };
});

const call = (path = '/', headers = {}) => httpCall(web.upstream('db'), { agent, path, headers });
const entry = (Kind: string, more: object) => mesh.must('PUT', '/v1/config', { Kind, Name: 'db', ...more });
/** By the name that nobody has. */
const callApi = (of: Call = {}) => httpCall(web.upstream('api'), { agent, ...of });
const ofApi = (Kind: string, more: object) => entry(Kind, { Name: 'api', ...more });
const subset = (version: string) => ({ Filter: `Service.Meta.version == "${version}"` });
const resolver = {
  DefaultSubset: 'v1',
  Subsets: { v1: subset('1'), v2: subset('2'), both: {} },
  Failover: { '*': { Service: 'backup' } },
};

function clear(): void {
  for (const each of all) each.clear();
}

beforeEach(() => {
  clear();
  for (const each of all) each.answer = well;
});

/** Waits until a call by the name that nobody has comes to this instance, and to no other from then on. */
async function ledTo(instance: HttpApplication): Promise<void> {
  await waitFor(
    'the redirect',
    async () => {
      clear();
      return (await callApi()).status === 200 && instance.count === 1;
    },
    20_000,
  );
  for (let sent = 0; sent < 20; sent++) assert.equal((await callApi()).status, 200);
  assert.deepEqual(
    all.map(({ count }) => count),
    all.map((each) => (each === instance ? 21 : 0)),
  );
}

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
  clear();
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

test('a redirect leads to a subset, and to another service, whose intentions count; for as long as it is written', async () => {
  assert.equal((await callApi()).status, 503, 'nobody is api');
  const redirect = (to: object) => ofApi('service-resolver', { Redirect: to });
  await redirect({ Service: 'db', ServiceSubset: 'v2' });
  await ledTo(canary);
  await redirect({ Service: 'db' });
  await ledTo(old); // of its default subset
  await redirect({ Service: 'backup' });
  await ledTo(backup);
  await mesh.intend('web', 'backup', 'deny');
  await waitFor('the backup to refuse', async () => (await callApi()).status === 403, 20_000);
  await mesh.intend('web', 'backup', 'allow');
  await waitFor('the backup to let web in', async () => (await callApi()).status === 200, 20_000);
  await mesh.must('DELETE', '/v1/config/service-resolver/api');
  await waitFor('nobody to be api again', async () => (await callApi()).status === 503, 20_000);
});

test('what a route says of requests, answers, times and retries holds for what it matches', async () => {
  const to = (more: object) => ({ Service: 'db', ServiceSubset: 'v2', ...more });
  const edited = {
    PathPrefix: '/edited',
    Methods: ['POST'],
    Header: [{ Name: 'x-kind', Exact: 'a' }],
    QueryParam: [{ Name: 'q', Present: true }],
  };
  await ofApi('service-router', {
    Routes: [
      {
        Match: { HTTP: edited },
        Destination: to({
          RequestHeaders: { Add: { 'x-added': '1' }, Set: { 'x-set': '2' }, Remove: ['x-gone'] },
          ResponseHeaders: { Set: { 'x-answer': '3' } },
        }),
      },
      { Match: { HTTP: { PathExact: '/late' } }, Destination: to({ RequestTimeout: '300ms' }) },
      { Match: { HTTP: { PathExact: '/again' } }, Destination: to({ NumRetries: 3, RetryOnStatusCodes: [409] }) },
      { Destination: to({ ServiceSubset: 'v1' }) },
    ],
  });
  const matching = {
    method: 'POST',
    path: '/edited/x?q=1',
    headers: { 'x-kind': 'a', 'x-set': 'mine', 'x-gone': 'no' },
  };
  await waitFor('the route', async () => (await callApi(matching)).headers['x-answer'] === '3', 20_000);
  const [seen] = canary.seen;
  assert.deepEqual([seen?.headers['x-added'], seen?.headers['x-set'], seen?.headers['x-gone']], ['1', '2', undefined]);
  for (const other of [{ method: 'PUT' }, { path: '/edited/x' }, { headers: { 'x-kind': 'b' } }]) {
    clear();
    assert.equal((await callApi({ ...matching, ...other })).headers['x-answer'], undefined);
    assert.deepEqual([old.count, canary.count], [1, 0]);
  }
  canary.answer = () => {};
  const late = await callApi({ path: '/late' });
  assert.equal(late.status, 504);
  assert.match(late.text, /SLV-4004/);
  clear();
  canary.answer = backup.answer = status(409);
  assert.equal((await callApi({ path: '/again' })).status, 409);
  assert.equal(canary.count + backup.count, 4, 'a try and three more, of which those that can go elsewhere');
});

test('who is chosen: by what is hashed, the nearest, not who fails', async () => {
  await ofApi('service-router', { Routes: [{ Destination: { Service: 'db', ServiceSubset: 'both' } }] });
  const byUser = { Policy: 'ring_hash', HashPolicies: [{ Field: 'header', FieldValue: 'x-user' }] };
  await entry('service-resolver', { ...resolver, LoadBalancer: byUser });
  const spread = async () => {
    const places: boolean[] = [];
    for (let user = 0; user < 24; user++) {
      clear();
      for (let sent = 0; sent < 4; sent++) await callApi({ headers: { 'x-user': `user ${user}` } });
      if (old.count > 0 && canary.count > 0) return undefined;
      places.push(old.count > 0);
    }
    return new Set(places).size === 2;
  };
  await waitFor('each user to have a place, and both to be one', spread, 20_000);
  const called = (instance: HttpApplication) => async () => {
    clear();
    for (let sent = 0; sent < 20; sent++) await callApi();
    return instance.count === 20;
  };
  await entry('service-resolver', { ...resolver, PrioritizeByLocality: { Mode: 'failover' } });
  await waitFor('the one of the same zone alone', called(old), 20_000);
  await entry('service-resolver', resolver);
  const of = (more: object) => entry('service-defaults', { Name: 'web', Protocol: 'http', ...more });
  await of({ UpstreamConfig: { Defaults: { PassiveHealthCheck: { MaxFailures: 2, BaseEjectionTime: '10m' } } } });
  old.answer = status(500);
  await waitFor('the one that fails to be left out', called(canary), 20_000);
  await of({});
});

test('a mirror and a limit for each caller, by policy', async () => {
  await ofApi('service-router', { Routes: [{ Destination: { Service: 'db', ServiceSubset: 'v2' } }] });
  const policy = (of: Parameters<typeof setPolicy>[3]) => setPolicy(mesh, { name: 'web', service: 'web' }, 'db', of);
  await waitFor('the route', async () => (await callApi()).status === 200 && canary.count > 0, 20_000);
  await policy({ mirror: { service: 'backup', share: 1 } });
  await waitFor('a copy', async () => (await callApi()).status === 200 && backup.count > 0, 20_000);
  await policy({ requestLimit: { perSecond: 0.01, burst: 2 } });
  await waitFor('web to have had its share', async () => (await callApi()).status === 429, 20_000);
  canary.clear();
  for (let sent = 0; sent < 5; sent++) assert.equal((await callApi()).status, 429);
  assert.equal(canary.count, 0);
  await mesh.must('DELETE', '/v1/mesh/resilience/db');
  await waitFor('web to be served', async () => (await callApi()).status === 200, 20_000);
});

test('odd requests pass as soon as the service lets them, and no longer than that', async () => {
  const words = (PathWithEscapedSlashesAction: string, HeadersWithUnderscoresAction = 'REJECT_REQUEST') => ({
    HTTP: { Incoming: { RequestNormalization: { PathWithEscapedSlashesAction, HeadersWithUnderscoresAction } } },
  });
  const underscored = async () => (await call('/', { x_user: '1' })).status;
  assert.deepEqual([(await call('/repos/a%2Fb')).status, await underscored()], [400, 400]);
  await entry('service-defaults', { Protocol: 'http', ...words('KEEP_UNCHANGED', 'ALLOW') });
  await waitFor('the slash to pass', async () => (await call('/repos/a%2Fb')).status === 200, 20_000);
  assert.ok(all.some(({ seen }) => seen.some(({ path }) => path === '/repos/a%2Fb')));
  await waitFor('the underscore to pass', async () => (await underscored()) === 200, 20_000);
  assert.ok(all.some(({ seen }) => seen.some(({ headers }) => headers['x_user'] === '1')));
  assert.match(await (await fetch(`${web.admin}/status`)).text(), /"escapedSlashes":"KEEP_UNCHANGED"/);
  await mesh.must('PUT', '/v1/config', { Kind: 'mesh', ...words('UNESCAPE_AND_REDIRECT') });
  await entry('service-defaults', { Protocol: 'http' });
  await waitFor('the redirect', async () => (await call('/repos/a%2Fb')).status === 307, 20_000);
  assert.equal(await underscored(), 400);
  await mesh.must('DELETE', '/v1/config/mesh/mesh');
  await waitFor('the slash to be refused', async () => (await call('/repos/a%2Fb')).status === 400, 20_000);
});

test('when the canary goes, its calls go to the backup, which proves that it is the backup', async () => {
  // Before it is left out, some calls are tried again: a fifth of those of the last ten seconds may be.
  for (let sent = 0; sent < 40; sent++) assert.equal((await call('/new/y')).status, 200);
  await mesh.kill('db-new', 'SIGKILL');
  for (let sent = 0; sent < 20; sent++) assert.equal((await call('/new/y')).status, 200);
  assert.equal(backup.seen.filter(({ path }) => path === '/y').length, 20);
  await mesh.intend('web', 'backup', 'deny');
  await waitFor('the backup to refuse', async () => (await call('/new/y')).status === 403, 20_000);
  assert.equal((await call('/new/y')).status, 403, 'routing gives no rights');
});
