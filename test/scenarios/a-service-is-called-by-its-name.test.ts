import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { Agent } from 'node:http';
import { after, test } from 'node:test';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { type CallResult, httpCall } from './http-call.ts';
import { setScene } from './scene.ts';

/** web knows no upstream from its configuration: it calls by name. All that has an address but the names of the mesh is on IPv6. The tests are one story, in order. */

const db = await startHttpApplication('::1');
const { mesh } = await setScene({}, async (mesh) => {
  mesh.addCatalogFlags('--dns-addr', '127.0.0.1:0');
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  await mesh.intend('web', 'db', 'allow');
  await Promise.all([
    mesh.startProxy('web', { service: 'web', flags: ['--http-proxy-addr', '[::1]:0', '--mesh-listeners'] }),
    mesh.startProxy('db', {
      service: 'db',
      local: db.address,
      flags: ['--listen', '[::1]:0', '--admin-addr', '[::1]:0', '--agent-addr', '[::1]:0'],
    }),
  ]);
  await mesh.isFollowed('db');
  return {};
});

/** As an application with `http_proxy` set calls. */
async function viaProxy(host: string): Promise<CallResult> {
  const proxy = await mesh.proxy('web').child.fact('http-proxy web');
  const agent = new Agent({ proxyEnv: { http_proxy: `http://${proxy}` } });
  after(() => agent.destroy());
  return httpCall(host, { path: '/orders', agent });
}

test('the first call of a service waits until the catalog has told of it', async () => {
  await waitFor(
    'db to be registered',
    async () => ((await mesh.must('GET', '/v1/health/connect/db?passing')) as unknown[]).length === 1,
    20_000,
  );
  const { status, text } = await viaProxy('db.mesh');
  assert.equal(status, 200, text);
  const { upstreams } = await mesh.status(mesh.proxy('web').admin);
  assert.deepEqual(
    upstreams.map(({ name }) => name),
    ['db'],
  );
});

test('a web page whose name leads to this host reads nothing of the admin API', async () => {
  for (const proxy of ['web', 'db']) {
    const { admin } = mesh.proxy(proxy);
    assert.equal((await httpCall(new URL(admin).host, { path: '/readyz' })).status, 200);
    const page = await httpCall(new URL(admin).host, { path: '/decisions', headers: { host: 'page.example' } });
    assert.equal(page.status, 400);
    assert.match(page.text, /SLV-1009/);
  }
});

test('what its agent may not register holds up nothing: db in maintenance is out of service at once', async () => {
  const agent = await mesh.proxy('db').child.fact('agent');
  const put = async (path: string, body?: object) => {
    const { status } = await fetch(`${agent}/v1/agent/service/${path}`, {
      method: 'PUT',
      body: JSON.stringify(body ?? {}),
    });
    assert.equal(status, 200, path);
  };
  const { admin } = mesh.proxy('web');
  const health = async () => (await mesh.status(admin)).upstreams[0]?.endpoints[0]?.status;
  await put('register', { Name: 'cache', Check: { TTL: '1m', Status: 'passing' } });
  const refusal = /svc\/db may not write service cache/;
  await waitFor('the refusal in the log', () => refusal.test(mesh.child('db').log));
  await put('deregister/cache');
  await put('maintenance/db?enable=true');
  await waitFor('web to know that db is out of service', async () => (await health()) === 'critical');
  await put('maintenance/db?enable=false');
  await mesh.knows(admin, 'db');
});

/** Where `<service>.mesh` leads. */
async function meshAddress(service: string): Promise<string> {
  const resolver = new Resolver();
  resolver.setServers([await mesh.child('catalog').fact('dns')]);
  const [address = ''] = await resolver.resolve4(`${service}.mesh`);
  return address;
}

let dbAddress = '';
test('what resolves db.mesh itself reaches db at its port, while it is there', async () => {
  dbAddress = `${await meshAddress('db')}${/:\d+$/.exec(db.address)?.[0]}`;
  const { status } = await waitFor('the listener', () => httpCall(dbAddress), 20_000);
  assert.equal(status, 200);
  await mesh.kill('db', 'SIGTERM');
  const gone = () =>
    httpCall(dbAddress).then(
      () => false,
      ({ code }: NodeJS.ErrnoException) => code === 'ECONNREFUSED',
    );
  await waitFor('the listener to go with it', gone, 20_000);
  await mesh.restartProxy('db');
  await mesh.knows(mesh.proxy('web').admin, 'db');
  await waitFor('the listener again', () => httpCall(dbAddress), 20_000);
});

test('with the catalog gone and the proxy started again, what was called before is called on; what was not is refused', async () => {
  await mesh.kill('catalog', 'SIGKILL');
  await mesh.kill('web', 'SIGKILL');
  await mesh.restartProxy('web');
  assert.equal((await viaProxy('db.service.consul')).status, 200);
  const unknown = await viaProxy('cache.mesh');
  assert.equal(unknown.status, 503);
  assert.match(unknown.text, /SLV-4013/);
  assert.equal((await waitFor('the listener', () => httpCall(dbAddress), 20_000)).status, 200);
});

test('a successor has the listeners of the names, also without the catalog', async () => {
  const web = mesh.child('web');
  await web.handOver();
  await waitFor('its predecessor to end', () => web.predecessors === 0, 20_000);
  assert.equal((await httpCall(dbAddress)).status, 200);
});
