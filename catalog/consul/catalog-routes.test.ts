import assert from 'node:assert/strict';
import { test } from 'node:test';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const registration = {
  ID: '40e4a748-2192-161a-0510-9bf59fe950b5',
  Node: 'n1',
  Address: '10.0.0.1',
  TaggedAddresses: { lan: '10.0.0.1' },
  NodeMeta: { rack: 'r1' },
  Service: {
    ID: 'web-1',
    Service: 'web',
    Tags: ['v1', 'primary'],
    Address: '10.0.0.9',
    TaggedAddresses: { lan: { Address: '10.0.0.9', Port: 80 } },
    Meta: { version: '1' },
    Port: 8080,
    Weights: { Passing: 10, Warning: 1 },
    EnableTagOverride: true,
  },
  Check: {
    CheckID: 'service:web-1',
    Name: 'web alive',
    Status: 'passing',
    Notes: 'a note',
    Output: 'ok',
    ServiceID: 'web-1',
    Definition: { HTTP: 'http://127.0.0.1/health', Interval: 10_000_000_000, Timeout: '1000ms' },
  },
};

test('what is registered is read back in the shapes that Consul clients know', async (t) => {
  const catalog = await startTestCatalog(t);
  const registered = await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  assert.equal(registered.status, 200);
  assert.equal(registered.text, 'true');

  const index = Number((await send(catalog, 'GET', '/v1/catalog/nodes')).headers.get('x-consul-index'));
  const indexes = { CreateIndex: index, ModifyIndex: index };
  const node = {
    ID: '40e4a748-2192-161a-0510-9bf59fe950b5',
    Node: 'n1',
    Address: '10.0.0.1',
    Datacenter: 'dc1',
    TaggedAddresses: { lan: '10.0.0.1' },
    Meta: { rack: 'r1' },
    ...indexes,
  };
  const service = {
    ID: 'web-1',
    Service: 'web',
    Tags: ['v1', 'primary'],
    Address: '10.0.0.9',
    TaggedAddresses: { lan: { Address: '10.0.0.9', Port: 80 } },
    Meta: { version: '1' },
    Port: 8080,
    Weights: { Passing: 10, Warning: 1 },
    EnableTagOverride: true,
    Proxy: { Mode: '', MeshGateway: {}, Expose: {} },
    Connect: {},
    ...indexes,
  };
  const check = {
    Node: 'n1',
    CheckID: 'service:web-1',
    Name: 'web alive',
    Status: 'passing',
    Notes: 'a note',
    Output: 'ok',
    ServiceID: 'web-1',
    ServiceName: 'web',
    ServiceTags: ['v1', 'primary'],
    Type: 'http',
    Interval: '10s',
    Timeout: '1s',
    ExposedPort: 0,
    Definition: { HTTP: 'http://127.0.0.1/health', Interval: '10s', Timeout: '1s' },
    ...indexes,
  };
  const golden: [string, unknown][] = [
    ['/v1/catalog/datacenters', ['dc1']],
    ['/v1/catalog/nodes', [node]],
    ['/v1/catalog/services', { web: ['primary', 'v1'] }],
    [
      '/v1/catalog/service/web',
      [
        {
          ID: node.ID,
          Node: 'n1',
          Address: '10.0.0.1',
          Datacenter: 'dc1',
          TaggedAddresses: { lan: '10.0.0.1' },
          NodeMeta: { rack: 'r1' },
          ServiceKind: '',
          ServiceID: 'web-1',
          ServiceName: 'web',
          ServiceTags: ['v1', 'primary'],
          ServiceAddress: '10.0.0.9',
          ServiceTaggedAddresses: { lan: { Address: '10.0.0.9', Port: 80 } },
          ServiceWeights: { Passing: 10, Warning: 1 },
          ServiceMeta: { version: '1' },
          ServicePort: 8080,
          ServiceEnableTagOverride: true,
          ServiceProxy: { Mode: '', MeshGateway: {}, Expose: {} },
          ServiceConnect: {},
          Checks: [],
          ...indexes,
        },
      ],
    ],
    ['/v1/catalog/node/n1', { Node: node, Services: { 'web-1': service } }],
    ['/v1/catalog/node-services/n1', { Node: node, Services: [service] }],
    ['/v1/health/service/web', [{ Node: node, Service: service, Checks: [check] }]],
    ['/v1/health/node/n1', [check]],
    ['/v1/health/checks/web', [check]],
    ['/v1/health/state/any', [check]],
    ['/v1/health/state/passing', [check]],
    ['/v1/health/state/critical', []],
    ['/v1/catalog/service/unknown', []],
    ['/v1/catalog/connect/web', []],
    ['/v1/health/service/unknown', []],
    ['/v1/catalog/node/unknown', null],
  ];
  for (const [path, expected] of golden) {
    const { status, json, headers } = await send(catalog, 'GET', path);
    assert.equal(status, 200, path);
    assert.deepEqual(json, expected, path);
    assert.equal(headers.get('content-type'), 'application/json', path);
  }
});

test('every read carries the headers that the Go client parses, LastContact first of all', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [query, consistency] of [
    ['', 'leader'],
    ['?stale=', 'stale'],
    ['?consistent', 'consistent'],
    ['?cached', 'leader'],
  ]) {
    const { headers } = await send(catalog, 'GET', `/v1/health/service/web${query}`);
    assert.ok(Number(headers.get('x-consul-index')) >= 1);
    assert.equal(headers.get('x-consul-lastcontact'), '0');
    assert.equal(headers.get('x-consul-knownleader'), 'true');
    assert.equal(headers.get('x-consul-effective-consistency'), consistency);
    assert.equal(headers.get('x-consul-default-acl-policy'), 'deny');
    assert.equal(headers.get('x-consul-query-backend'), 'blocking-query');
  }
});

test('filters: tags, node-meta, passing', async (t) => {
  const catalog = await startTestCatalog(t);
  await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  await send(catalog, 'PUT', '/v1/catalog/register', {
    body: {
      Node: 'n2',
      Address: '10.0.0.2',
      Service: { Service: 'web' },
      Check: { Name: 'node down', Status: 'critical' },
    },
  });
  for (const [path, count] of [
    ['/v1/health/service/web', 2],
    ['/v1/health/service/web?passing=1', 1],
    ['/v1/health/service/web?passing', 1],
    ['/v1/health/service/web?passing=false', 2],
    ['/v1/health/service/web?tag=v1', 1],
    ['/v1/health/service/web?tag=v1&tag=primary', 1],
    ['/v1/catalog/service/web?tag=v1&tag=v2', 0],
    ['/v1/catalog/service/web?node-meta=rack:r1', 1],
    ['/v1/catalog/nodes?node-meta=rack:r2', 0],
    ['/v1/health/state/any?node-meta=rack:r1', 1],
  ] as const) {
    const { json } = await send(catalog, 'GET', path);
    assert.ok(Array.isArray(json) && json.length === count, path);
  }
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/services?node-meta=rack:r1')).json, {
    web: ['primary', 'v1'],
  });
});

test('keys in any case, nulls and unknown fields are taken when registering, as Go takes them', async (t) => {
  const catalog = await startTestCatalog(t);
  const { status } = await send(catalog, 'PUT', '/v1/catalog/register', {
    body: {
      node: 'n1',
      ADDRESS: '10.0.0.1',
      Locality: { Region: 'eu' },
      service: { service: 'web', tags: null, Port: 1, Future: 1 },
    },
  });
  assert.equal(status, 200);
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/services')).json, { web: [] });
});

test('weights out of bounds are 1 and 1: the Go client sends zeroes where none are given', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [given, kept] of [
    [
      { Passing: 0, Warning: 0 },
      { Passing: 1, Warning: 1 },
    ],
    [{ Warning: 7 }, { Passing: 1, Warning: 1 }],
    [{ Passing: 3 }, { Passing: 3, Warning: 0 }],
    [
      { Passing: 3, Warning: 70_000 },
      { Passing: 1, Warning: 1 },
    ],
  ]) {
    const body = { Node: 'n1', Address: '10.0.0.1', Service: { Service: 'web', Weights: given } };
    assert.equal((await send(catalog, 'PUT', '/v1/catalog/register', { body })).status, 200);
    const [instance] = (await send(catalog, 'GET', '/v1/catalog/service/web')).json as { ServiceWeights: unknown }[];
    assert.deepEqual(instance?.ServiceWeights, kept);
  }
});

test('the same registration again changes nothing and wakes nobody', async (t) => {
  const catalog = await startTestCatalog(t);
  await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  const before = (await send(catalog, 'GET', '/v1/health/service/web')).headers.get('x-consul-index');
  await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  const after = (await send(catalog, 'GET', '/v1/health/service/web')).headers.get('x-consul-index');
  assert.equal(after, before);
});

test('deregistering: an instance with its checks, a check, a node; what is not there is fine', async (t) => {
  const catalog = await startTestCatalog(t);
  const deregister = async (body: object) => (await send(catalog, 'PUT', '/v1/catalog/deregister', { body })).text;
  const checks = async () => (await send(catalog, 'GET', '/v1/health/node/n1')).json;
  await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  assert.equal(await deregister({ Node: 'n1', CheckID: 'service:web-1' }), 'true');
  assert.deepEqual(await checks(), []);
  await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  assert.equal(await deregister({ Node: 'n1', ServiceID: 'web-1' }), 'true');
  assert.deepEqual(await checks(), []);
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/services')).json, {});
  await send(catalog, 'PUT', '/v1/catalog/register', { body: registration });
  assert.equal(await deregister({ Node: 'n1' }), 'true');
  assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/nodes')).json, []);
  assert.deepEqual((await send(catalog, 'GET', '/v1/health/state/any')).json, []);
  assert.equal(await deregister({ Node: 'n1', ServiceID: 'web-1' }), 'true');
});

test('a node without an ID gets one that stays the same', async (t) => {
  const catalog = await startTestCatalog(t);
  const idOf = async () => {
    await send(catalog, 'PUT', '/v1/catalog/register', { body: { Node: 'n1', Address: '10.0.0.1' } });
    const [node] = (await send(catalog, 'GET', '/v1/catalog/nodes')).json as { ID: string }[];
    return node?.ID;
  };
  const id = await idOf();
  assert.match(id ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  await send(catalog, 'PUT', '/v1/catalog/deregister', { body: { Node: 'n1' } });
  assert.equal(await idOf(), id);
});
