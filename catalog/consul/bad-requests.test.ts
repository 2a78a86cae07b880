import assert from 'node:assert/strict';
import { test } from 'node:test';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const node = { Node: 'n1', Address: '10.0.0.1' };

test('what a read refuses, in Consul words and as text', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [path, status, text] of [
    ['/v1/catalog/nodes?stale&consistent', 400, /^Cannot specify \?stale with \?consistent, conflicting semantics\.$/],
    ['/v1/catalog/nodes?cached&consistent', 400, /conflicting semantics/],
    ['/v1/catalog/nodes?index=x', 400, /^Invalid index$/],
    ['/v1/catalog/nodes?index=-1', 400, /^Invalid index$/],
    ['/v1/catalog/nodes?wait=10', 400, /^Invalid wait time$/],
    ['/v1/catalog/nodes?dc=elsewhere', 500, /^No path to datacenter$/],
    ['/v1/catalog/nodes?ns=team', 400, /namespace/i],
    ['/v1/catalog/nodes?filter=Nope+%3D%3D+x', 400, /^Failed to create boolean .*: Selector "Nope" is not valid$/],
    ['/v1/health/service/web?filter=Service', 400, /^Failed to create boolean .*: 1:8 \(7\): no match found/],
    ['/v1/config/service-defaults?filter=Name+is+empty', 400, /takes no \?filter/],
    ['/v1/catalog/nodes?max_stale=x', 400, /^Invalid max_stale value "x"$/],
    ['/v1/catalog/nodes?max_stale=10s&consistent', 400, /conflicting semantics/],
    ['/v1/catalog/nodes?partition=team', 400, /partition/i],
    ['/v1/catalog/gateway-services/', 400, /^Missing gateway name$/],
    ['/v1/health/ingress/', 400, /^Missing service name$/],
    ['/v1/health/service/web?peer=other', 501, /\?peer/],
    ['/v1/health/service/web?passing=perhaps', 400, /^Invalid value for \?passing$/],
    ['/v1/health/service/', 400, /^Missing service name$/],
    ['/v1/config/ingress-gateway', 501, /not supported/],
    ['/v1/config/nonsense', 400, /invalid config entry kind/],
    ['/v1/config/service-defaults/web', 404, /^Config entry not found for "service-defaults" \/ "web"$/],
    ['/v1/connect/intentions/exact?source=web', 400, /destination/],
    ['/v1/connect/intentions/match?name=a', 400, /'by'/],
    ['/v1/connect/intentions/match?by=nothing&name=a', 400, /'by'/],
    ['/v1/connect/intentions/match?by=source', 400, /'name'/],
    ['/v1/connect/intentions/check?source=*&destination=db', 400, /one service/],
    ['/v1/agent/services', 501, /without an agent.*edge-proxy/],
    ['/v1/nonsense', 404, /^Invalid URL path: not a recognized HTTP API endpoint/],
  ] as const) {
    const answer = await send(catalog, 'GET', path);
    assert.equal(answer.status, status, path);
    assert.match(answer.text, text, path);
    assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/, path);
  }
});

test('bodies that are not what a registration is', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [body, text] of [
    ['', /^Request decode failed/],
    ['{', /^Request decode failed/],
    ['[]', /^Request decode failed/],
    ['null', /^Request decode failed/],
    ['{"Node":"n1","node":"n2","Address":"a"}', /given twice/],
    [{}, /Node/],
    [{ Node: '', Address: 'a' }, /Node/],
    [{ Node: 'n1' }, /^Must provide node and address$/],
    [{ Node: 'n\u0000', Address: 'a' }, /printable/],
    [{ Node: 'é', Address: 'a' }, /printable/],
    [{ Node: 'n'.repeat(129), Address: 'a' }, /Node/],
    [{ ...node, Service: { ID: 'x' } }, /^Must provide service name/],
    [{ ...node, Service: { Service: 'we b' } }, /not a valid service name/],
    [{ ...node, Service: { Service: '../web' } }, /not a valid service name/],
    [{ ...node, Service: { Service: '*' } }, /not a valid service name/],
    [{ ...node, Service: { Service: '__proto__' } }, /not a valid service name/],
    [{ ...node, Service: { Service: 'web', Port: 65_536 } }, /Port/],
    [{ ...node, Service: { Service: 'web', Port: '80' } }, /Port/],
    [
      { ...node, Service: { Service: 'web', Ports: [{ Name: 'a', Port: 1 }] } },
      /^one of the Ports must be marked as Default$/,
    ],
    [{ ...node, Service: { Service: 'web', Ports: Array(17).fill({ Name: 'a', Port: 1 }) } }, /Ports/],
    [{ ...node, Service: { Service: 'gw', Kind: 'mesh-gateway' } }, /Kind/],
    [
      { ...node, Service: { Service: 'p', Kind: 'connect-proxy', Port: 1 } },
      /^Proxy.DestinationServiceName must be non-empty/,
    ],
    [
      { ...node, Service: { Service: 'p', Kind: 'connect-proxy', Port: 1, Proxy: { DestinationServiceName: '*' } } },
      /wildcard/,
    ],
    [
      { ...node, Service: { Service: 'p', Kind: 'connect-proxy', Proxy: { DestinationServiceName: 'web' } } },
      /^Port or SocketPath/,
    ],
    [{ ...node, Check: { Name: 'c', Status: 'fine' } }, /Status/],
    [{ ...node, Check: {} }, /CheckID/],
    [{ ...node, Check: { Name: 'c', Node: 'n2' } }, /does not match/],
    [{ ...node, Check: { Name: 'c', ServiceID: 'nope' } }, /^Missing service registration/],
    [{ ...node, Check: { Name: 'c', Definition: { Interval: 'soon' } } }, /duration/],
    [{ ...node, Checks: [{ Name: 'c' }, { Name: 'c' }] }, /twice/],
    [{ ...node, NodeMeta: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`k${at}`, 'v'])) }, /64/],
  ] as const) {
    const answer = await send(catalog, 'PUT', '/v1/catalog/register', { body });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.match(answer.text, text, JSON.stringify(body));
  }
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/nodes')).json, [], 'none of it left anything behind');
});

test('names that are free text in Consul stay apart, whatever they contain', async (t) => {
  const catalog = await startTestCatalog(t);
  const ids = ['a/b', 'a%2Fb', 'a b', '..', 'host:web:80', "'; --", '_service_maintenance:web'];
  for (const id of ids) {
    const Service = { ID: id, Service: 'web', Port: 1 };
    assert.equal((await send(catalog, 'PUT', '/v1/catalog/register', { body: { ...node, Service } })).status, 200);
  }
  const { json } = await send(catalog, 'GET', '/v1/catalog/node/n1');
  assert.deepEqual(Object.keys((json as { Services: object }).Services).sort(), [...ids].sort());
  for (const id of ids) {
    await send(catalog, 'PUT', '/v1/catalog/deregister', { body: { Node: 'n1', ServiceID: id } });
  }
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/services')).json, {});
});

test('nesting without end is refused, in what is kept as it came too; brackets in strings are none', async (t) => {
  const catalog = await startTestCatalog(t);
  const nested = (Config: string) =>
    `{"Node":"n1","Address":"a","Service":{"Kind":"connect-proxy","Service":"p","Port":1,"Proxy":{"DestinationServiceName":"web","Config":${Config}}}}`;
  for (const [depth, status] of [
    [100, 200],
    [200, 400],
    [200_000, 400],
  ] as const) {
    const body = nested(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`);
    const answer = await send(catalog, 'PUT', '/v1/catalog/register', { body });
    assert.deepEqual([answer.status, answer.status === 200 || /exceeded max depth$/.test(answer.text)], [status, true]);
  }
  const body = nested(`{"a":${JSON.stringify('["\\[{'.repeat(200))}}`);
  assert.equal((await send(catalog, 'PUT', '/v1/catalog/register', { body })).status, 200);
});

test('other methods: 405 with what is allowed; OPTIONS tells', async (t) => {
  const catalog = await startTestCatalog(t);
  const wrong = await send(catalog, 'POST', '/v1/catalog/register', { body: {} });
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.get('allow'), 'OPTIONS,PUT');
  assert.equal(wrong.text, 'method POST not allowed');
  const options = await send(catalog, 'OPTIONS', '/v1/connect/intentions/exact');
  assert.equal(options.status, 200);
  assert.equal(options.headers.get('allow'), 'OPTIONS,GET,PUT,DELETE');
});

test('a body over the limit is a 413, and the next request is served', async (t) => {
  const catalog = await startTestCatalog(t);
  const body = JSON.stringify({ ...node, NodeMeta: { k: 'x'.repeat(1_100_000) } });
  const answer = await fetch(`${catalog.url}/v1/catalog/register`, { method: 'PUT', body });
  assert.equal(answer.status, 413);
  await answer.text();
  assert.equal((await fetch(`${catalog.url}/v1/status/leader`)).status, 200);
});

test('a page in a browser reaches nothing in dev mode', async (t) => {
  const catalog = await startTestCatalog(t);
  const origin = await send(catalog, 'GET', '/v1/catalog/nodes', { headers: { origin: 'https://evil.example' } });
  assert.equal(origin.status, 403);
  const rebound = await catalog.app.request('http://evil.example/v1/catalog/nodes');
  assert.equal(rebound.status, 403);
});
