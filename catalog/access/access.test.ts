import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { temporaryFolder } from '#test/temporary-folder.ts';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

const nobody = {};
const web = workload('web');
const db = workload('db');

const instance = (service: string, more: object = {}, node = 'n1') => ({
  Node: node,
  Address: '10.0.0.1',
  Service: { Service: service, Port: 1, ...more },
});
const sidecar = (service: string, destination: string, node = 'n1') =>
  instance(`${service}-sidecar-proxy`, { Kind: 'connect-proxy', Proxy: { DestinationServiceName: destination } }, node);

test('who may what', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const operator = { 'x-consul-token': catalog.operatorToken ?? '' };
  await send(catalog, 'PUT', '/v1/catalog/register', { body: instance('db', {}, 'n2'), headers: operator });
  const feed = (query: string) => `/v1/mesh/feed?proxy=p&${query}`;
  const intention = { Action: 'allow' };
  const question = { source: 'web', destination: 'db' };
  const authorize = (Target: string) => ({ Target, ClientCertURI: 'spiffe://mesh.test/ns/default/dc/dc1/svc/web' });
  // method, path, body, then the answers to: anonymous, web, db, operator
  const matrix: readonly [string, string, object | undefined, number, number, number, number][] = [
    ['GET', '/livez', undefined, 200, 200, 200, 200],
    ['GET', '/readyz', undefined, 200, 200, 200, 200],
    ['GET', '/metrics', undefined, 403, 403, 403, 200],
    ['GET', '/openapi.json', undefined, 403, 200, 200, 200],
    ['GET', '/v1/nonsense', undefined, 403, 404, 404, 404],
    ['GET', '/v1/mesh/nonsense', undefined, 403, 404, 404, 404],
    ['GET', '/v1/status/leader', undefined, 403, 200, 200, 200],
    ['GET', '/v1/agent/self', undefined, 403, 200, 200, 200],
    ['GET', '/v1/catalog/services', undefined, 403, 200, 200, 200],
    ['GET', '/v1/health/connect/db', undefined, 403, 200, 200, 200],
    ['GET', '/v1/connect/intentions', undefined, 403, 403, 403, 200],
    ['GET', '/v1/connect/intentions/match?by=destination&name=db', undefined, 403, 403, 200, 200],
    ['GET', '/v1/connect/intentions/match?by=source&name=web', undefined, 403, 403, 403, 200],
    ['GET', '/v1/connect/intentions/check?source=web&destination=db', undefined, 403, 403, 200, 200],
    ['PUT', '/v1/connect/intentions/exact?source=web&destination=db', intention, 403, 403, 403, 200],
    ['DELETE', '/v1/connect/intentions/exact?source=web&destination=db', undefined, 403, 403, 403, 200],
    ['GET', '/v1/config/service-defaults', undefined, 403, 403, 403, 200],
    ['PUT', '/v1/config', { Kind: 'service-defaults', Name: 'db' }, 403, 403, 403, 200],
    ['DELETE', '/v1/config/service-defaults/db', undefined, 403, 403, 403, 200],
    ['GET', '/v1/kv/app/secret', undefined, 403, 403, 403, 404],
    ['GET', '/v1/kv/?keys', undefined, 403, 403, 403, 200],
    ['PUT', '/v1/kv/app/secret', {}, 403, 403, 403, 200],
    ['DELETE', '/v1/kv/?recurse', undefined, 403, 403, 403, 200],
    ['PUT', '/v1/txn', [], 403, 403, 403, 200],
    ['POST', '/v1/agent/connect/authorize', authorize('db'), 403, 403, 200, 200],
    ['POST', '/v1/mesh/intentions/check', question, 403, 403, 200, 200],
    ['GET', '/v1/mesh/resilience/db', undefined, 403, 200, 200, 200],
    ['PUT', '/v1/mesh/resilience/db', {}, 403, 403, 403, 200],
    ['DELETE', '/v1/mesh/resilience/db', undefined, 403, 403, 403, 200],
    ['GET', '/v1/mesh/proxies', undefined, 403, 403, 403, 200],
    ['GET', feed('upstream=db'), undefined, 403, 400, 400, 400],
    ['GET', feed('service=web&service=db'), undefined, 403, 403, 403, 200],
    ['POST', '/v1/mesh/feed/ack', { proxy: 'q', revision: 1, rejected: [], bundleSequence: 0 }, 403, 404, 404, 404],
    ['PUT', '/v1/catalog/register', { Node: 'n9', Address: 'a', Check: { Name: 'node' } }, 403, 403, 403, 200],
    ['PUT', '/v1/catalog/register', instance('web'), 403, 200, 403, 200],
    ['PUT', '/v1/catalog/register', sidecar('web', 'web'), 403, 200, 403, 200],
    ['PUT', '/v1/catalog/register', sidecar('web', 'db'), 403, 403, 403, 200],
    ['PUT', '/v1/catalog/register', sidecar('web', 'web'), 403, 403, 403, 200], // what stands there now is db's
    ['PUT', '/v1/catalog/register', instance('web', { ID: 'db' }, 'n2'), 403, 403, 403, 200],
    ['PUT', '/v1/catalog/register', instance('selvedge-catalog'), 403, 403, 403, 200],
    ['PUT', '/v1/catalog/deregister', { Node: 'n2', ServiceID: 'db' }, 403, 200, 403, 200], // web took it over above
    ['PUT', '/v1/catalog/deregister', { Node: 'n1' }, 403, 403, 403, 200],
  ];
  for (const [method, path, body, ...expected] of matrix) {
    for (const [at, [who, env, headers]] of (
      [
        ['anonymous', nobody, {}],
        ['web', web, {}],
        ['db', db, {}],
        ['operator', nobody, operator],
      ] as const
    ).entries()) {
      if (path === '/v1/catalog/deregister' && who === 'web') continue; // judged below, on a state of its own
      const gone = new AbortController();
      const response = await catalog.app.request(
        `http://127.0.0.1${path}`,
        {
          method,
          signal: gone.signal,
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          headers: { 'content-type': 'application/json', ...headers },
        },
        env,
      );
      assert.equal(response.status, expected[at], `${who}: ${method} ${path} ${JSON.stringify(body)}`);
      if (path.startsWith('/v1/mesh/feed?') && response.status === 200) await response.body?.cancel();
      else if (response.status === 403) assert.match(await response.text(), /Permission denied/);
    }
  }
});

test('each item of a registration is judged on its own', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const operator = { 'x-consul-token': catalog.operatorToken ?? '' };
  const register = (body: object, env: object = web) => send(catalog, 'PUT', '/v1/catalog/register', { body, env });
  await send(catalog, 'PUT', '/v1/catalog/register', {
    body: { ...instance('db'), Check: { CheckID: 'db-alive', ServiceID: 'db', Status: 'passing' } },
    headers: operator,
  });
  for (const [name, body] of [
    ['a check of db', { ...instance('web'), Check: { Name: 'x', ServiceID: 'db', Status: 'critical' } }],
    ['a check of the node', { ...instance('web'), Checks: [{ Name: 'x', Status: 'critical' }] }],
    ['the check of db, taken over', { ...instance('web'), Check: { CheckID: 'db-alive', ServiceID: 'web' } }],
  ] as const) {
    assert.equal((await register(body)).status, 403, name);
  }
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/service/web', { env: web })).json, [], 'all or nothing');

  const moved = await register({ ...instance('web'), Address: '6.6.6.6' });
  assert.equal(moved.status, 200);
  assert.match(moved.headers.get('x-selvedge-warning') ?? '', /left as it is/);
  const [node] = (await send(catalog, 'GET', '/v1/catalog/nodes', { env: web })).json as { Address: string }[];
  assert.equal(node?.Address, '10.0.0.1', 'db is on that node too');

  assert.equal((await register({ ...instance('web', {}, 'n5') })).status, 200);
  assert.equal((await register({ ...instance('web', {}, 'n5'), Address: '10.0.0.5' })).status, 200);
  const own = (await send(catalog, 'GET', '/v1/catalog/node/n5', { env: web })).json as { Node: { Address: string } };
  assert.equal(own.Node.Address, '10.0.0.5', 'a node with nothing but its own instances');

  const deregister = (body: object, env: object) => send(catalog, 'PUT', '/v1/catalog/deregister', { body, env });
  assert.equal((await deregister({ Node: 'n1', ServiceID: 'db' }, web)).status, 403);
  assert.equal((await deregister({ Node: 'n1', CheckID: 'db-alive' }, web)).status, 403);
  assert.equal((await deregister({ Node: 'n1', ServiceID: 'web' }, web)).status, 200);
});

test('what does not make a workload: a wrong token beside a good SVID, another trust domain, datacenter or form', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const read = (env: object, headers: Record<string, string> = {}) =>
    send(catalog, 'GET', '/v1/catalog/services', { env, headers });
  assert.equal((await read(web)).status, 200);
  assert.equal((await read(web, { 'x-consul-token': 'wrong' })).status, 403);
  for (const id of [
    'spiffe://other.test/ns/default/dc/dc1/svc/web',
    'spiffe://mesh.test/ns/default/dc/dc2/svc/web',
    'spiffe://mesh.test/ns/team/dc/dc1/svc/web',
    'spiffe://mesh.test/web',
  ]) {
    assert.equal((await read(workload('web', { spiffeId: parseSpiffeId(id) }))).status, 403, id);
  }
  const token = catalog.operatorToken ?? '';
  assert.equal((await read(nobody, { authorization: `Bearer ${token}` })).status, 200);
  assert.equal((await send(catalog, 'GET', `/v1/catalog/services?token=${token}`)).status, 200);
});

test('the operator token is a file for its owner alone; dev mode stays on loopback', async (t) => {
  const dataDir = temporaryFolder();
  const catalog = await startTestCatalog(t, { open: false, dataDir });
  const path = catalog.operatorTokenPath ?? '';
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.equal((await readFile(path, 'utf8')).trim(), catalog.operatorToken);
  await assert.rejects(startTestCatalog(t, { host: '0.0.0.0' }), (error) => isMeshError(error, 'SLV-1002'));
});
