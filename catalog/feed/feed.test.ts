import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FeedResource, feedMessageSchema } from '#policies/wire/feed.ts';
import type { RunningCatalog } from '../main.ts';
import { follow } from '../testing/followed-feed.ts';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

async function put(catalog: RunningCatalog, path: string, body: object): Promise<void> {
  assert.equal((await send(catalog, 'PUT', path, { body })).status, 200, path);
}

const allow = (catalog: RunningCatalog, source: string, destination: string, Action = 'allow') =>
  put(catalog, `/v1/connect/intentions/exact?source=${source}&destination=${destination}`, { Action });

const registerDb = (catalog: RunningCatalog, node: string, more: object = {}) =>
  put(catalog, '/v1/catalog/register', {
    Node: node,
    Address: '10.0.0.1',
    Service: {
      Kind: 'connect-proxy',
      ID: 'db-sidecar-proxy',
      Service: 'db-sidecar-proxy',
      Port: 21_000,
      Proxy: { DestinationServiceName: 'db', DestinationServiceID: 'db' },
    },
    ...more,
  });

const named = (resources: readonly FeedResource[]) => resources.map(({ kind, name }) => `${kind} ${name}`);

test('hello, all that was asked for, then only what concerns the proxy', async (t) => {
  const catalog = await startTestCatalog(t);
  await registerDb(catalog, 'n1');
  const feed = await follow(catalog, 'proxy=n1/web&service=web&upstream=db');
  const hello = await feed.next();
  assert.deepEqual(hello, {
    type: 'hello',
    catalog: 'catalog-1',
    datacenter: 'dc1',
    trustDomain: 'mesh.test',
    keepAliveMs: 10_000,
  });
  const first = await feed.update();
  assert.equal(first.reset, true);
  assert.deepEqual(named(first.resources), ['intentions web', 'upstream db']);
  const [intentions, upstream] = first.resources;
  assert.ok(intentions?.kind === 'intentions' && upstream?.kind === 'upstream');
  assert.deepEqual(intentions, {
    kind: 'intentions',
    name: 'web',
    protocol: 'tcp',
    defaultAction: 'deny',
    intentions: [],
  });
  assert.deepEqual(upstream.endpoints, [
    {
      id: 'n1/db-sidecar-proxy',
      node: 'n1',
      address: '10.0.0.1',
      port: 21_000,
      spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/db',
      status: 'passing',
      weight: 1,
    },
  ]);

  await allow(catalog, 'api', 'other'); // none of its business
  await put(catalog, '/v1/mesh/resilience/other', { connectTimeoutMs: 1 });
  await allow(catalog, '*', 'web');
  const changed = await feed.update();
  assert.equal(changed.reset, false);
  assert.ok(changed.revision > first.revision);
  assert.deepEqual(named(changed.resources), ['intentions web']);
  await allow(catalog, 'api', '*', 'deny');
  assert.deepEqual(named((await feed.update()).resources), ['intentions web'], 'an intention for all concerns all');
  await put(catalog, '/v1/mesh/resilience/db', { connectTimeoutMs: 7 });
  const [resilient] = (await feed.update()).resources;
  assert.ok(resilient?.kind === 'upstream');
  assert.equal((resilient.resilience as { connectTimeoutMs: number }).connectTimeoutMs, 7);
  await put(catalog, '/v1/catalog/deregister', { Node: 'n1' });
  const [ended] = (await feed.update()).resources;
  assert.ok(ended?.kind === 'upstream' && ended.endpoints.length === 0, 'what ends is sent empty');
  feed.close();
});

test('the protocol of all services reaches everyone, once', async (t) => {
  const catalog = await startTestCatalog(t);
  const feed = await follow(catalog, 'proxy=n1/web&service=web&upstream=db&upstream=own');
  await put(catalog, '/v1/config', { Kind: 'service-defaults', Name: 'own', Protocol: 'grpc' });
  await put(catalog, '/v1/config', { Kind: 'proxy-defaults', Config: { protocol: 'http' } });
  for (const seen = new Map<string, string>(); seen.get('intentions web') !== 'http'; ) {
    for (const resource of (await feed.update()).resources) {
      if ('protocol' in resource) seen.set(`${resource.kind} ${resource.name}`, resource.protocol);
    }
    if (seen.get('intentions web') !== 'http') continue;
    assert.deepEqual(Object.fromEntries(seen), {
      'intentions web': 'http',
      'upstream db': 'http',
      'upstream own': 'grpc',
    });
  }
  feed.close();
});

test('an endpoint is as well as its proxy, its application and its node', async (t) => {
  const catalog = await startTestCatalog(t);
  await put(catalog, '/v1/catalog/register', {
    Node: 'n1',
    Address: '10.0.0.1',
    Service: { Service: 'db', Port: 5432 },
  });
  await registerDb(catalog, 'n1', { Service: undefined, SkipNodeUpdate: true });
  await registerDb(catalog, 'n1');
  const feed = await follow(catalog, 'proxy=p&service=web&upstream=db');
  const status = async () => {
    const upstream = (await feed.update()).resources.find(({ kind }) => kind === 'upstream');
    return upstream?.kind === 'upstream' ? upstream.endpoints[0]?.status : undefined;
  };
  const check = (CheckID: string, ServiceID: string, Status: string, Output = '') =>
    put(catalog, '/v1/catalog/register', {
      Node: 'n1',
      SkipNodeUpdate: true,
      Check: { CheckID, ServiceID, Status, Output },
    });
  assert.equal(await status(), 'passing');
  await check('app', 'db', 'warning');
  assert.equal(await status(), 'warning');
  await check('proxy', 'db-sidecar-proxy', 'critical');
  assert.equal(await status(), 'critical');
  await check('proxy', 'db-sidecar-proxy', 'passing');
  assert.equal(await status(), 'warning');
  await check('app', 'db', 'warning', 'another output of the same status is no news');
  await check('_node_maintenance', '', 'critical');
  assert.equal(await status(), 'critical');
  feed.close();
});

test('a line that broke goes on where it was; what cannot be continued starts afresh', async (t) => {
  const catalog = await startTestCatalog(t);
  const query = 'proxy=p&service=web&upstream=db&upstream=cache';
  const first = await follow(catalog, query);
  const { revision } = await first.update();
  first.close();
  await allow(catalog, 'api', 'web');
  const resumed = await follow(catalog, `${query}&since=${revision}`);
  const update = await resumed.update();
  assert.equal(update.reset, false);
  assert.deepEqual(named(update.resources), ['intentions web']);
  const again = await follow(catalog, `${query}&since=${update.revision}`);
  const nothing = await again.update();
  assert.deepEqual([nothing.reset, nothing.resources], [false, []], 'it is told that it is up to date');
  for (const [name, other] of [
    ['from the future', `${query}&since=${update.revision + 1000}`],
    ['from before this catalog began', `${query}&since=0`],
    ['asking for more than before', `${query}&upstream=more&since=${update.revision}`],
    ['another proxy', `proxy=q&service=web&since=${update.revision}`],
  ] as const) {
    const feed = await follow(catalog, other);
    assert.equal((await feed.update()).reset, true, name);
    feed.close();
  }
  resumed.close();
  again.close();
});

test('a line goes on with more upstreams than before, those sent whole that the proxy says to be new', async (t) => {
  const catalog = await startTestCatalog(t);
  const first = await follow(catalog, 'proxy=p&service=web&upstream=db');
  const { revision } = await first.update();
  const query = `proxy=p&service=web&upstream=db&upstream=cache&since=${revision}&new=cache`;
  for (const when of ['at first', 'again, where the line broke before it was told']) {
    const more = await follow(catalog, query);
    const update = await more.update();
    assert.deepEqual([update.reset, named(update.resources)], [false, ['upstream cache']], when);
    more.close();
  }
  first.close();
});

test('where names of the mesh lead is told to who asks, as services come and go', async (t) => {
  const catalog = await startTestCatalog(t);
  const asking = await follow(catalog, 'proxy=p&service=web&names=mesh');
  const other = await follow(catalog, 'proxy=q&service=web');
  const names = async () => {
    const { resources } = await asking.update();
    const found = resources.find((resource) => resource.kind === 'mesh-names');
    return found?.services.map(({ service, address, ports }) => [service, /^127\./.test(address), ports]);
  };
  assert.deepEqual(await names(), []);
  assert.ok((await other.update()).resources.every(({ kind }) => kind !== 'mesh-names'));
  await put(catalog, '/v1/catalog/register', {
    Node: 'n1',
    Address: '10.0.0.1',
    Service: { Service: 'db', Port: 5432 },
  });
  await registerDb(catalog, 'n1');
  assert.deepEqual(await names(), [['db', true, [5432]]]);
  await put(catalog, '/v1/catalog/deregister', { Node: 'n1', ServiceID: 'db-sidecar-proxy' });
  assert.deepEqual(await names(), []);
  asking.close();
  other.close();
});

test('changes that come together are told together, and the last state arrives', async (t) => {
  const catalog = await startTestCatalog(t);
  const feed = await follow(catalog, 'proxy=p&service=web&upstream=db');
  const { revision } = await feed.update();
  const writes = 40;
  await Promise.all(Array.from({ length: writes }, (_, at) => registerDb(catalog, `n${at}`)));
  let updates = 0;
  for (let endpoints = 0; endpoints < writes; updates++) {
    const update = await feed.update();
    assert.ok(update.revision > revision);
    const [resource] = update.resources;
    assert.ok(resource?.kind === 'upstream');
    endpoints = resource.endpoints.length;
  }
  assert.ok(updates < writes, `${updates} updates for ${writes} writes`);
  feed.close();
});

test('a reader that stops reading costs a bounded queue and then gets the newest state', async (t) => {
  const catalog = await startTestCatalog(t);
  const upstreams = Array.from({ length: 200 }, (_, at) => `u${at}`);
  const query = `proxy=slow&service=web&${upstreams.map((name) => `upstream=${name}`).join('&')}`;
  const response = await catalog.app.request(`http://127.0.0.1/v1/mesh/feed?${query}`);
  const reader = response.body?.getReader();
  assert.ok(reader !== undefined);
  for (let round = 1; round <= 5; round++) {
    for (const name of upstreams.slice(0, 40)) {
      await put(catalog, `/v1/mesh/resilience/${name}`, { connectTimeoutMs: round });
    }
  }
  let received = 0;
  const timeouts = new Map<string, number>();
  const decoder = new TextDecoder();
  for (let rest = ''; !upstreams.slice(0, 40).every((name) => timeouts.get(name) === 5); ) {
    const { value } = await reader.read();
    received += value?.length ?? 0;
    const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const message = feedMessageSchema.parse(JSON.parse(line));
      for (const resource of message.type === 'update' ? message.resources : []) {
        if (resource.kind !== 'upstream') continue;
        timeouts.set(resource.name, (resource.resilience as { connectTimeoutMs: number }).connectTimeoutMs);
      }
    }
  }
  // The first state of all 200, what fitted the queue, and the newest of 40: not 200 writes with their states in between.
  assert.ok(received < 260_000, `${received} bytes`);
  await reader.cancel();
});

test('the trust bundle is carried at each connect and when it changes', async (t) => {
  let jws = 'first';
  let changed: () => void = () => undefined;
  const signedBundle = {
    current: () => jws,
    onChange: (listener: () => void) => {
      changed = listener;
      return () => undefined;
    },
  };
  const catalog = await startTestCatalog(t, { signedBundle });
  const feed = await follow(catalog, 'proxy=p&service=web');
  const bundle = async () => (await feed.update()).resources.find(({ kind }) => kind === 'bundle');
  assert.deepEqual(await bundle(), { kind: 'bundle', name: 'mesh.test', jws: 'first' });
  jws = 'second';
  changed();
  assert.deepEqual(await bundle(), { kind: 'bundle', name: 'mesh.test', jws: 'second' });
  feed.close();
});

test('keep-alives come, and a feed ends with the SVID that opened it', async (t) => {
  const catalog = await startTestCatalog(t, { open: false, feedKeepAliveMs: 20 });
  const open = (endsInMs: number) =>
    catalog.app.request(
      'http://127.0.0.1/v1/mesh/feed?proxy=p&service=web',
      {},
      workload('web', { notAfterMs: Date.now() + endsInMs }),
    );
  const lasting = await open(3_600_000);
  let text = '';
  for await (const chunk of lasting.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (text.includes('"type":"keepalive"')) break;
  }
  assert.match(text, /"type":"hello"[\s\S]*"type":"keepalive"/);
  assert.match(await (await open(1_500)).text(), /"type":"hello"/); // ends, or the test times out
});

test('what each proxy acknowledged is seen by operators; nobody speaks for another', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const operator = { 'x-consul-token': catalog.operatorToken ?? '' };
  const web = workload('web');
  const feed = await catalog.app.request('http://127.0.0.1/v1/mesh/feed?proxy=n1&service=web&upstream=db', {}, web);
  const ack = {
    proxy: 'n1',
    revision: 7,
    rejected: [{ kind: 'upstream', name: 'db', reason: 'odd' }],
    bundleSequence: 3,
  };
  const post = (env: object) => send(catalog, 'POST', '/v1/mesh/feed/ack', { body: ack, env });
  assert.equal((await post(workload('db'))).status, 404);
  assert.equal((await post(web)).status, 200);
  const { json } = await send(catalog, 'GET', '/v1/mesh/proxies', { headers: operator });
  const [proxy] = (json as { proxies: Record<string, unknown>[] }).proxies;
  assert.equal(proxy?.['spiffeId'], 'spiffe://mesh.test/ns/default/dc/dc1/svc/web');
  assert.equal(proxy?.['connected'], true);
  const { ageMs, ...acknowledged } = (proxy?.['acknowledged'] ?? {}) as Record<string, unknown>;
  assert.ok(Number(ageMs) >= 0);
  assert.deepEqual(acknowledged, { revision: 7, bundleSequence: 3, rejected: ack.rejected });
  const identity = await send(catalog, 'GET', '/v1/mesh/proxies', { env: workload('selvedge-identity') });
  assert.equal(identity.status, 200, 'rotation waits for acknowledgements');
  await feed.body?.cancel();
});

test('a thousand feeds of one upstream: one change reaches all', async (t) => {
  const catalog = await startTestCatalog(t);
  const readers = await Promise.all(
    Array.from({ length: 1_000 }, async (_, at) => {
      const response = await catalog.app.request(`http://127.0.0.1/v1/mesh/feed?proxy=p${at}&service=web&upstream=db`);
      const reader = response.body?.getReader();
      assert.ok(reader !== undefined);
      await reader.read();
      await reader.read();
      return reader;
    }),
  );
  await registerDb(catalog, 'n1');
  const lines = await Promise.all(readers.map(async (reader) => (await reader.read()).value));
  assert.equal(new Set(lines.map((line) => line?.buffer)).size, 1, 'all were handed the same bytes');
  await Promise.all(readers.map((reader) => reader.cancel()));
});
