import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { dig, skipWithoutDig } from '#test/dig.ts';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';

/** Identity and catalog dead: everything goes on as it was last told, and no wider. The tests are one story, in order. */

const any = '127.0.0.1:0';
const db = await startHttpApplication();
const { mesh, web } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'], flags: ['--agent-addr', any, '--dns-addr', any] }),
    mesh.startProxy('batch', { service: 'batch', upstreams: ['db'], state: false }),
    mesh.startProxy('db', { service: 'db', local: db.address }),
  ]);
  await mesh.intend('web', 'db', [
    { Action: 'deny', HTTP: { PathPrefix: '/salaries' } },
    { Action: 'allow', HTTP: { PathPrefix: '/' } },
  ]);
  for (const name of ['web', 'batch']) await mesh.knows(mesh.proxy(name).admin, 'db');
  return { web };
});
const agent = keepingAgent();
const get = (path: string) => httpCall(web.upstream('db'), { path, agent });
const agentUrl = await web.child.fact('agent');
const dnsPort = Number((await web.child.fact('dns')).split(':').at(-1));
const asked = (path: string, headers: Record<string, string> = {}) => fetch(`${agentUrl}${path}`, { headers });
const answers = async (path: string, status: number) => (await get(path)).status === status;

test('the agent of a host answers for the whole catalog: by HTTP as its own service or by a token, and by DNS', async () => {
  const [entry] = (await (await asked('/v1/health/service/db?passing')).json()) as { Service: { Port: number } }[];
  assert.equal(entry?.Service.Port, Number(db.address.split(':').at(-1)));
  assert.deepEqual([(await asked('/v1/kv/a')).status, (await asked('/v1/agent/self')).status], [403, 200]);
  assert.equal((await asked('/v1/kv/a', { 'x-consul-token': mesh.operatorToken('catalog') })).status, 404);
  if (skipWithoutDig() === false)
    assert.equal((await dig(dnsPort, 'db.service.consul')).answer[0], 'db.service.consul A 127.0.0.1');
});

test('both are killed under load: no request fails', async () => {
  await waitFor('web to be allowed', () => answers('/', 200), 20_000);
  await using load = startLoad(() => unlessOk(get('/orders')));
  await waitFor('some load', () => load.calls() > 50, 60_000);
  await Promise.all([mesh.kill('identity', 'SIGKILL'), mesh.kill('catalog', 'SIGKILL')]);
  await waitFor('the proxies to notice', async () => (await mesh.status(web.admin)).view.feed.kind !== 'live', 20_000);
  const before = load.calls();
  await waitFor('further calls', () => load.calls() > before + 500, 60_000);
  assert.deepEqual((await load.stop()).failures, []);
  assert.equal((await get('/salaries')).status, 403, 'what was denied stays denied');
  const old = await asked('/v1/health/service/db?passing&stale');
  assert.deepEqual([old.status, old.headers.get('x-cache')], [200, 'HIT']);
  assert.equal((await asked('/v1/health/service/db?passing')).status, 500);
  if (skipWithoutDig() === false)
    // It notices by a query of its own, which may be under way for a moment still.
    await waitFor(
      'DNS to go on, and to say that it is old',
      async () => /Stale.*A\s127\.0\.0\.1/s.test((await dig(dnsPort, 'db.service.consul')).text),
      20_000,
    );
  assert.equal((await fetch(`${web.admin}/readyz`)).status, 200);
});

test('a proxy killed meanwhile comes back from its directory: same rights, and the age of what it knows is shown', async () => {
  for (const name of ['db', 'web']) {
    await mesh.kill(name, 'SIGKILL');
    const { admin } = await mesh.restartProxy(name);
    const { view, svid, ready } = await mesh.status(admin);
    assert.equal(ready, true);
    assert.equal(view.origin, 'cache');
    assert.notEqual(view.feed.kind, 'live');
    assert.ok(view.confirmedSecondsAgo !== null && view.confirmedSecondsAgo >= 0, String(view.confirmedSecondsAgo));
    assert.ok((svid?.secondsLeft ?? 0) > 60);
  }
  await waitFor('web to reach db again', () => answers('/orders', 200), 20_000);
  assert.equal((await get('/salaries')).status, 403);
});

test('one without a directory knows nothing, so it serves nothing', async () => {
  await mesh.kill('batch', 'SIGKILL');
  const again = await mesh.spawnProxy('newcomer', {
    service: 'batch',
    token: 'slj_0000000000000000_unused',
    local: db.address,
    state: false,
  });
  await waitFor('it to say that it waits', () => /still trying/.test(again.log), 20_000);
  assert.equal(again.running, true);
  assert.doesNotMatch(again.log, /^ready/m);
  await again.end();
});

test('they come back: changes flow again', async () => {
  await mesh.startIdentity();
  await mesh.startCatalog();
  for (const name of ['web', 'db']) {
    const live = async () => (await mesh.status(mesh.proxy(name).admin)).view.feed.kind === 'live';
    await waitFor(`the feed of ${name} to be live`, live, 30_000);
  }
  await mesh.intend('web', 'db', 'deny');
  await waitFor('the deny to arrive', () => answers('/orders', 403), 20_000);
  await mesh.intend('web', 'db', 'allow');
  await waitFor('the allow to arrive', () => answers('/salaries', 200), 20_000);
});

test('a catalog that lost everything gets its registrations back from the proxies, and traffic goes on', async (t) => {
  await using load = startLoad(() => unlessOk(get('/orders')));
  await mesh.kill('catalog', 'SIGKILL');
  for (const suffix of ['', '-wal', '-shm']) rmSync(mesh.path('catalog', `catalog.db${suffix}`), { force: true });
  await mesh.startCatalog();
  // What operators had written is lost, so they write it again: before the proxies are told of an empty catalog if they are quick, but that is not promised.
  await mesh.speakHttp('db');
  await mesh.intend('web', 'db', 'allow');
  await waitFor(
    'db and web to be registered again',
    async () => {
      const services = (await mesh.must('GET', '/v1/catalog/services')) as object;
      const passing = (await mesh.must('GET', '/v1/health/connect/db?passing')) as unknown[];
      return 'web' in services && 'db' in services && 'db-sidecar-proxy' in services && passing.length === 1;
    },
    30_000,
  );
  await mesh.knows(web.admin, 'db');
  await waitFor('web to reach db', () => answers('/orders', 200), 20_000);
  const { calls, failures } = await load.stop();
  t.diagnostic(`${failures.length} of ${calls} calls failed while the catalog was empty`);
});
