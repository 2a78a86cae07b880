import assert from 'node:assert/strict';
import { test } from 'node:test';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly json: ReturnType<typeof JSON.parse>;
}

const registrations = [
  {
    Node: 'n1',
    Address: '10.0.0.1',
    NodeMeta: { rack: 'r1' },
    Service: { ID: 'web-1', Service: 'web', Tags: ['v1', 'primary'], Port: 80, Meta: { version: '1' } },
    Checks: [
      { CheckID: 'web-1', ServiceID: 'web-1', Status: 'passing' },
      { CheckID: 'disk', Status: 'passing' },
    ],
  },
  {
    Node: 'n2',
    Address: '10.0.0.2',
    NodeMeta: { rack: 'r2' },
    Service: { ID: 'web-2', Service: 'web', Tags: ['v2'], Port: 81 },
    Check: { CheckID: 'web-2', ServiceID: 'web-2', Status: 'critical', Output: 'refused' },
  },
  {
    Node: 'n2',
    Address: '10.0.0.2',
    NodeMeta: { rack: 'r2' },
    Service: {
      ID: 'web-2-proxy',
      Service: 'web-proxy',
      Kind: 'connect-proxy',
      Port: 21_000,
      Proxy: { DestinationServiceName: 'web', Upstreams: [{ DestinationName: 'db', LocalBindPort: 5432 }] },
    },
  },
];

/** A catalog with two nodes, and a way to ask it over HTTP. */
async function loadedCatalog(t: { after(end: () => Promise<void>): void }) {
  const catalog = await startTestCatalog(t);
  for (const body of registrations) {
    assert.equal((await send(catalog, 'PUT', '/v1/catalog/register', { body })).status, 200);
  }
  const get = async (
    path: string,
    parameters: Readonly<Record<string, string>> = {},
    headers: Record<string, string> = {},
  ): Promise<Answer> => {
    const response = await fetch(`${catalog.url}${path}?${new URLSearchParams(parameters)}`, { headers });
    return { status: response.status, headers: response.headers, json: await response.json() };
  };
  return { catalog, get };
}

test('filter: each list has the selectors that Consul documents for it', async (t) => {
  const { catalog, get } = await loadedCatalog(t);
  for (const [source, Action] of [
    ['web', 'allow'],
    ['cron', 'deny'],
  ]) {
    await send(catalog, 'PUT', `/v1/connect/intentions/exact?source=${source}&destination=db`, { body: { Action } });
  }
  const node = (one: { Node: string }) => one.Node;
  const entry = (one: { Service: { ID: string } }) => one.Service.ID;
  const id = (one: { ServiceID: string }) => one.ServiceID;
  const check = (one: { CheckID: string }) => one.CheckID;
  for (const [path, filter, name, expected] of [
    ['/v1/catalog/nodes', 'Meta.rack == r1', node, ['n1']],
    ['/v1/catalog/nodes', 'Address matches "2$"', node, ['n2']],
    ['/v1/catalog/service/web', 'NodeMeta.rack == r2 and v2 in ServiceTags', id, ['web-2']],
    ['/v1/catalog/service/web', 'ServicePort == 80 or ServiceMeta.version != ""', id, ['web-1', 'web-2']],
    ['/v1/catalog/connect/web', 'ServiceProxy.Upstreams.DestinationName == db', id, ['web-2-proxy']],
    ['/v1/health/service/web', 'Checks.Status == critical', entry, ['web-2']],
    ['/v1/health/service/web', 'Service.Meta is empty', entry, ['web-2']],
    ['/v1/health/connect/web', 'Service.Kind == "connect-proxy"', entry, ['web-2-proxy']],
    ['/v1/health/connect/web', 'Service.Kind == ""', entry, []],
    ['/v1/health/ingress/web', 'Service.Kind == ""', entry, []],
    ['/v1/health/node/n1', 'ServiceID == ""', check, ['disk']],
    ['/v1/health/checks/web', 'Status != passing', check, ['web-2']],
    ['/v1/health/state/any', 'Output contains "refused"', check, ['web-2']],
    ['/v1/health/state/any', 'v1 in ServiceTags', check, ['web-1']],
    ['/v1/connect/intentions', 'Action == deny', (one: { SourceName: string }) => one.SourceName, ['cron']],
  ] as const) {
    const { status, json } = await get(path, { filter });
    assert.equal(status, 200, `${path} ${filter}`);
    assert.deepEqual(json.map(name), expected, `${path} ${filter}`);
  }
  const services = async (filter: string) => (await get('/v1/catalog/services', { filter })).json;
  assert.deepEqual(await services('NodeMeta.rack == r1'), { web: ['primary', 'v1'] });
  assert.deepEqual(await services('ServiceName != web'), { 'web-proxy': [] });
  assert.deepEqual(await services('ServicePort == 1'), {});
  const onNode = await get('/v1/catalog/node/n2', { filter: 'Port == 81' });
  assert.deepEqual(Object.keys(onNode.json.Services), ['web-2']);
  assert.equal(onNode.json.Node.Node, 'n2');
  const listed = await get('/v1/catalog/node-services/n2', { filter: 'Kind != ""' });
  assert.deepEqual(
    listed.json.Services.map((one: { ID: string }) => one.ID),
    ['web-2-proxy'],
  );
});

test('a filtered list of names changes with what the filter looks at', async (t) => {
  const { catalog, get } = await loadedCatalog(t);
  const filter = 'ServiceMeta.colour == green';
  const first = await get('/v1/catalog/services', { filter });
  assert.deepEqual(first.json, {});
  const waiting = get('/v1/catalog/services', {
    filter,
    index: first.headers.get('x-consul-index') ?? '',
    wait: '60s',
  });
  const [registration] = registrations;
  const Service = { ...registration?.Service, Meta: { version: '1', colour: 'green' } };
  await send(catalog, 'PUT', '/v1/catalog/register', { body: { ...registration, Service } });
  assert.deepEqual((await waiting).json, { web: ['primary', 'v1'] });
});

test('near leaves the order as it is: there are no network coordinates', async (t) => {
  const { get } = await loadedCatalog(t);
  const order = async (near?: string) =>
    (await get('/v1/health/service/web', near === undefined ? {} : { near })).json.map(
      (one: { Node: { Node: string } }) => one.Node.Node,
    );
  for (const near of [undefined, '_agent', 'n2', 'nowhere']) assert.deepEqual(await order(near), ['n1', 'n2']);
});

test('an answer from a cache: what the request and its Cache-Control ask, and what the headers say', async (t) => {
  const { catalog, get } = await loadedCatalog(t);
  for (const [parameters, cacheControl, expected] of [
    [{}, '', null],
    [{}, 'max-age=0', null],
    [{ cached: '' }, '', 'HIT'],
    [{ cached: '1' }, 'max-age=30, stale-if-error=60', 'HIT'],
    [{ cached: '' }, 'Max-Age=0', 'MISS'],
    [{ cached: '' }, 'must-revalidate', 'MISS'],
  ] as const) {
    const { headers } = await get('/v1/health/service/web', parameters, { 'cache-control': cacheControl });
    assert.equal(headers.get('x-cache'), expected, JSON.stringify([parameters, cacheControl]));
    assert.equal(headers.get('age'), expected === null ? null : '0');
  }
  const bad = await fetch(`${catalog.url}/v1/catalog/nodes`, { headers: { 'cache-control': 'max-age=soon' } });
  assert.deepEqual([bad.status, await bad.text()], [400, 'Invalid Cache-Control header.']);
});

test('consistency: max_stale is stale; namespaces and partitions other than default are refused, in headers too', async (t) => {
  const { catalog, get } = await loadedCatalog(t);
  const { headers } = await get('/v1/catalog/nodes', { max_stale: '10s' });
  assert.equal(headers.get('x-consul-effective-consistency'), 'stale');
  assert.equal((await get('/v1/catalog/nodes', { ns: 'default', partition: 'default', peer: '' })).status, 200);
  for (const name of ['x-consul-namespace', 'x-consul-partition']) {
    assert.equal((await fetch(`${catalog.url}/v1/catalog/nodes`, { headers: { [name]: 'default' } })).status, 200);
    const refused = await fetch(`${catalog.url}/v1/catalog/nodes`, { headers: { [name]: 'team' } });
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /^Invalid header: "X-Consul-(Namespace|Partition)" - .* not offered/);
  }
});

test('pretty: four spaces and a line end, as Consul', async (t) => {
  const { catalog } = await loadedCatalog(t);
  const text = await (await fetch(`${catalog.url}/v1/catalog/services?pretty`)).text();
  assert.match(text, /^\{\n {4}"web": \[\n {8}"primary",/);
  assert.ok(text.endsWith('}\n'));
});

test('gateways: lists that are empty, not null', async (t) => {
  const { get } = await loadedCatalog(t);
  assert.deepEqual((await get('/v1/catalog/gateway-services/any')).json, []);
  assert.deepEqual((await get('/v1/health/ingress/web')).json, []);
});
