import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { IdentityClient } from '#runtime/svid/identity-client.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { openNodeState } from '#runtime/svid/node-state.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall } from './http-call.ts';
import { startImpostor } from './impostor.ts';
import { setScene } from './scene.ts';
import { catalogAs, joinAs, quietContext } from './workload.ts';

/** Operators write by token, workloads within their grant, and a service is only what its SVID says. */

const db = await startHttpApplication();
const { mesh, web, attacker } = await setScene({ logLevel: 'debug' }, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web, attacker] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
    joinAs(mesh, ['web'], 'attacker'),
    mesh.startProxy('db', { service: 'db', local: db.address }),
  ]);
  await mesh.knows(web.admin, 'db');
  await mesh.intend('web', 'db', 'allow');
  return { web, attacker };
});

/** All that an attacker may want to change, as an operator sees it. */
async function everything(): Promise<unknown> {
  const paths = [
    '/v1/connect/intentions',
    '/v1/config/service-defaults',
    '/v1/mesh/resilience/db',
    '/v1/catalog/services',
    '/v1/catalog/service/db',
    '/v1/health/connect/db',
  ];
  return Promise.all(paths.map((path) => mesh.must('GET', path)));
}

const dbInstance = { ID: 'db', Service: 'db', Port: 1, Address: '127.0.0.1' };
const dbSidecar = {
  Kind: 'connect-proxy',
  Service: 'web-sidecar-proxy',
  ID: 'x',
  Port: 1,
  Proxy: { DestinationServiceName: 'db' },
};

const writes: readonly [method: string, path: string, body?: object][] = [
  ['PUT', '/v1/connect/intentions/exact?source=web&destination=db', { Action: 'deny' }],
  ['DELETE', '/v1/connect/intentions/exact?source=web&destination=db'],
  ['PUT', '/v1/config', { Kind: 'service-defaults', Name: 'db', Protocol: 'tcp' }],
  ['DELETE', '/v1/config/service-defaults/db'],
  ['PUT', '/v1/mesh/resilience/db', { maxConcurrent: 1 }],
  ['DELETE', '/v1/mesh/resilience/db'],
  ['PUT', '/v1/catalog/register', { Node: 'db-host', Address: '127.0.0.1', Service: dbInstance }],
  ['PUT', '/v1/catalog/register', { Node: 'attacker', Address: '127.0.0.1', Service: dbInstance }],
  ['PUT', '/v1/catalog/register', { Node: 'attacker', Address: '127.0.0.1', Service: dbSidecar }],
  ['PUT', '/v1/catalog/deregister', { Node: 'db-host', ServiceID: 'db' }],
  ['PUT', '/v1/catalog/deregister', { Node: 'db-host' }],
];

test('no write without the operator token, and none with a wrong one: refused, and nothing is changed', async () => {
  const before = await everything();
  const tokens = [null, 'wrong', '', mesh.operatorToken('identity'), `${mesh.operatorToken('catalog')}x`];
  for (const token of tokens) {
    for (const [method, path, body] of writes) {
      const { status } = await mesh.catalog(method, path, body, token);
      assert.ok(status === 401 || status === 403, `${method} ${path} with ${token?.slice(0, 5)}…: ${status}`);
    }
  }
  assert.deepEqual(await everything(), before);
  assert.equal((await mesh.catalog('GET', '/v1/catalog/services', undefined, null)).status, 403, 'reading too');
});

test('a node that was granted web writes nothing of db, and none of what operators write', async () => {
  const before = await everything();
  for (const [method, path, body] of writes) {
    const { status } = await catalogAs(mesh, attacker, 'web', {
      path,
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    assert.equal(status, 403, `${method} ${path}: ${status}`);
  }
  assert.deepEqual(await everything(), before);
  const own = { Node: 'attacker', Address: '127.0.0.1', Service: { Service: 'web', ID: 'web', Port: 1 } };
  const path = '/v1/catalog/register';
  assert.equal(
    (await catalogAs(mesh, attacker, 'web', { path, method: 'PUT', body: JSON.stringify(own) })).status,
    200,
  );
});

test('it does not hear what db is told, or who may call db', async () => {
  const feed = (service: string, upstream: string) =>
    catalogAs(mesh, attacker, 'web', { path: `/v1/mesh/feed?proxy=a&service=${service}&upstream=${upstream}` });
  assert.equal((await feed('db', 'web')).status, 403);
  assert.equal((await feed('web&service=db', 'db')).status, 403);
  const question = { source: 'web', destination: 'db' };
  const path = '/v1/mesh/intentions/check';
  assert.equal(
    (await catalogAs(mesh, attacker, 'web', { path, method: 'POST', body: JSON.stringify(question) })).status,
    403,
  );
});

test('a proxy that starts as db with a token for web gets no SVID, and ends saying so', async () => {
  const token = await mesh.joinToken(['web']);
  const child = await mesh.spawnProxy('false-db', { service: 'db', token, local: db.address, state: false });
  assert.notEqual(await child.whenEnded(), 'exit code 0');
  assert.match(child.log, /SLV-2120/);
  assert.equal(((await mesh.must('GET', '/v1/health/connect/db')) as unknown[]).length, 1);
});

test('the identity service gives no SVID outside of the grant, whatever is asked for', async () => {
  const state = await openNodeState(undefined);
  const { signal } = new AbortController();
  const client = new IdentityClient({
    endpoints: new IdentityEndpoints(mesh.identityUrl),
    trust: attacker.trust,
    state,
    context: quietContext,
    signal,
  });
  const nodeId = await client.join(await mesh.joinToken(['web']), 'asker');
  const svid = attacker.svid('web').current;
  assert.ok(svid);
  for (const service of ['db', 'selvedge-identity', 'selvedge-catalog', 'web2', 'Web']) {
    for (const attestation of [{ nodeId }, { svid }, { nodeId, svid }]) {
      await assert.rejects(client.issue({ service, csr: csr() }, attestation), (error) => {
        assert.ok(isMeshError(error, 'SLV-2014'), String(error));
        return error.detail['status'] === 403;
      });
    }
  }
  const issued = await client.issue({ service: 'web', csr: csr() }, { nodeId });
  assert.equal(issued.spiffeId, 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web');
});

test('a catalog that is not the catalog is not followed: no request reaches it, and the proxy denies', async () => {
  const svid = attacker.svid('web').current;
  assert.ok(svid);
  const impostor = await startImpostor(svid, { '/v1/mesh/feed': '' });
  const flags = ['--catalog', impostor.url];
  const misled = await mesh.startProxy('misled', {
    service: 'db',
    local: db.address,
    upstreams: ['db'],
    state: false,
    flags,
  });
  await waitFor(
    'the proxy to see through it',
    async () =>
      /selvedge-catalog|which is not the one expected/.test((await mesh.status(misled.admin)).view.feed.reason ?? ''),
    20_000,
  );
  assert.ok(impostor.connections > 0);
  assert.equal(impostor.heard, '');
  assert.equal((await fetch(`${misled.admin}/readyz`)).status, 503);
  const before = db.count;
  const { status, text } = await httpCall(misled.upstream('db'));
  assert.deepEqual(
    [status, /SLV-4013/.test(text), db.count],
    [503, true, before],
    'it knows nobody, so nothing goes out',
  );
  await misled.child.end();
});

test('an instance that answers with somebody else’s SVID gets no request', async () => {
  const svid = attacker.svid('web').current;
  assert.ok(svid);
  const impostor = await startImpostor(svid, { '/': 'stolen' });
  const address = new URL(impostor.url);
  const before = db.count;
  // An operator was fooled into registering it. What counts is whose SVID is behind the address.
  await mesh.must('PUT', '/v1/catalog/register', {
    Node: 'fake-host',
    Address: '127.0.0.1',
    Service: { ...dbSidecar, Service: 'db-sidecar-proxy', Port: Number(address.port) },
  });
  await mesh.knows(web.admin, 'db', 2);
  for (let call = 0; call < 20; call++) {
    const { status, text } = await httpCall(web.upstream('db'), { path: '/secret' });
    // Tried again at the true one, as far as the retry budget goes.
    assert.ok(
      (status === 200 && text === 'well\n') || (status === 502 && text.includes('SLV-4005')),
      `${status} ${text}`,
    );
  }
  assert.ok(db.count > before);
  assert.ok(impostor.connections > 0, 'it was tried');
  assert.equal(impostor.heard, '');
});

test('an SVID names its catalog: the wrong one is not told anything either', async () => {
  const expect = parseSpiffeId('spiffe://mesh.internal/ns/default/dc/dc1/svc/db');
  await assert.rejects(catalogAs(mesh, attacker, 'web', { path: '/v1/catalog/services', expect }), (error) =>
    isMeshError(error, 'SLV-2010'),
  );
});

function csr(): string {
  return makeCsr(makeKeyPair());
}
