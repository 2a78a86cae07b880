import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FeedResource, FeedUpstream } from '#policies/wire/feed.ts';
import type { RunningCatalog } from '../main.ts';
import { follow } from '../testing/followed-feed.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

/** What the feed says of an upstream that config entries route, and when it says it anew. */

async function put(catalog: RunningCatalog, path: string, body: object): Promise<void> {
  const answer = await send(catalog, 'PUT', path, { body });
  assert.equal(answer.status, 200, `${path}: ${answer.text}`);
}

const entry = (catalog: RunningCatalog, Kind: string, Name: string, more: object) =>
  put(catalog, '/v1/config', { Kind, Name, ...more });

/** An application and the proxy before it. */
async function register(
  catalog: RunningCatalog,
  node: string,
  service: string,
  meta: object = {},
  more: object = {},
): Promise<void> {
  await put(catalog, '/v1/catalog/register', {
    Node: node,
    Address: '10.0.0.1',
    Service: { Service: service, Meta: meta, Port: 80, ...more },
  });
  await put(catalog, '/v1/catalog/register', {
    Node: node,
    SkipNodeUpdate: true,
    Service: {
      Kind: 'connect-proxy',
      ID: `${service}-sidecar-proxy`,
      Service: `${service}-sidecar-proxy`,
      Port: 21_000,
      Proxy: { DestinationServiceName: service, DestinationServiceID: service },
    },
  });
}

test('a plain upstream stays as older proxies know it; a resolver’s times are in its policy', async (t) => {
  const catalog = await startTestCatalog(t);
  await register(catalog, 'n1', 'db');
  await entry(catalog, 'service-resolver', 'db', { ConnectTimeout: '3s', RequestTimeout: '1m' });
  const upstream = await upstreamOf(catalog, 'db');
  assert.equal(upstream.routing, undefined);
  assert.equal(upstream.endpoints.length, 1);
  const { connectTimeoutMs, requestTimeoutMs, perTryTimeoutMs } = upstream.resilience as Record<string, number>;
  assert.deepEqual([connectTimeoutMs, requestTimeoutMs, perTryTimeoutMs], [3_000, 60_000, 60_000]);
});

test('subsets by the meta of the application, failover to another service: each target with its own instances and identity', async (t) => {
  const catalog = await startTestCatalog(t);
  await register(catalog, 'n1', 'db', { version: '1' });
  await register(catalog, 'n2', 'db', { version: '2' });
  await register(catalog, 'n3', 'backup');
  await entry(catalog, 'service-resolver', 'db', {
    DefaultSubset: 'v1',
    Subsets: { v1: { Filter: 'Service.Meta.version == "1"' } },
    Failover: { v1: { Service: 'backup' } },
  });
  const { routing, endpoints } = await upstreamOf(catalog, 'db');
  assert.deepEqual(endpoints, [], 'nothing that a proxy without routing could take for the whole');
  assert.deepEqual(routing?.destinations, { 'v1.db': { targets: ['v1.db', 'backup'] } });
  const shown = Object.entries(routing?.targets ?? {}).map(([name, target]) => [
    name,
    target.endpoints.map(({ node, spiffeId }) => `${node} ${spiffeId.split('/').at(-1)}`),
  ]);
  assert.deepEqual(Object.fromEntries(shown), { 'v1.db': ['n1 db'], backup: ['n3 backup'] });
});

test('whatever a routed upstream hangs on has it said anew; what it hangs on no more does not', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const service of ['db', 'other']) await entry(catalog, 'service-defaults', service, { Protocol: 'http' });
  await register(catalog, 'n1', 'db');
  const feed = await follow(catalog, 'proxy=p&service=web&upstream=db');
  const next = async () => upstreamIn(await feed.update());
  await next();
  await entry(catalog, 'service-splitter', 'db', { Splits: [{ Weight: 90 }, { Weight: 10, Service: 'other' }] });
  assert.deepEqual((await next()).routing?.splitters, {
    'split:db': [
      { weight: 9_000, next: 'db' },
      { weight: 1_000, next: 'other' },
    ],
  });
  await register(catalog, 'n2', 'other');
  assert.equal((await next()).routing?.targets['other']?.endpoints[0]?.node, 'n2', 'an instance of a target');
  await put(catalog, '/v1/mesh/resilience/other', { connectTimeoutMs: 7 });
  const policy = (await next()).routing?.targets['other']?.resilience as Record<string, unknown> | undefined;
  assert.equal(policy?.['connectTimeoutMs'], 7, 'the policy of a target');
  assert.equal((await send(catalog, 'DELETE', '/v1/config/service-splitter/db')).status, 200);
  assert.equal((await next()).routing, undefined);
  await register(catalog, 'n4', 'other');
  await put(catalog, '/v1/mesh/resilience/db', { connectTimeoutMs: 8 });
  assert.equal(((await next()).resilience as Record<string, unknown>)['connectTimeoutMs'], 8, 'and nothing in between');
  feed.close();
});

test('a mirror is a destination of its own, with the instances of the service that is named', async (t) => {
  const catalog = await startTestCatalog(t);
  await register(catalog, 'n1', 'db');
  await register(catalog, 'n2', 'db-next');
  await put(catalog, '/v1/mesh/resilience/db', { mirror: { service: 'db-next', share: 0.25 } });
  const { routing } = await upstreamOf(catalog, 'db');
  assert.deepEqual(routing?.routes, [{ next: 'db' }]);
  assert.deepEqual(routing?.destinations, {
    db: { targets: ['db'], mirror: { destination: 'mirror:db-next', share: 0.25 } },
    'mirror:db-next': { targets: ['mirror:db-next'] },
  });
  assert.equal(routing?.targets['mirror:db-next']?.endpoints[0]?.node, 'n2');
});

test('with PrioritizeByLocality callers are told where instances are: the proxy’s word, else the application’s, else the node’s', async (t) => {
  const catalog = await startTestCatalog(t);
  const locality = (Zone: string) => ({ Region: 'eu', Zone });
  await register(catalog, 'n1', 'db');
  await register(catalog, 'n2', 'db', {}, { Locality: locality('b') });
  const told = async () => {
    const { endpoints, routing } = await upstreamOf(catalog, 'db');
    const all = routing?.targets['db']?.endpoints ?? endpoints;
    return [routing?.targets['db']?.byLocality ?? false, all.map((each) => each.locality?.zone ?? null)];
  };
  assert.deepEqual(await told(), [false, [null, null]]);
  await entry(catalog, 'service-resolver', 'db', { PrioritizeByLocality: { Mode: 'failover' } });
  assert.deepEqual(await told(), [true, [null, 'b']]);
  await put(catalog, '/v1/catalog/register', { Node: 'n1', Address: '10.0.0.1', Locality: locality('a') });
  assert.deepEqual(await told(), [true, ['a', 'b']]);
  await entry(catalog, 'service-resolver', 'db', { PrioritizeByLocality: { Mode: 'none' } });
  assert.deepEqual(await told(), [false, [null, null]]);
});

test('limits are told to who asks for them, also when they end', async (t) => {
  const catalog = await startTestCatalog(t);
  const silent = await follow(catalog, 'proxy=old&service=web');
  assert.deepEqual(
    (await silent.update()).resources.map(({ kind }) => kind),
    ['intentions'],
  );
  const feed = await follow(catalog, 'proxy=p&service=web&limits=1');
  const limit = async () => (await feed.update()).resources.find(({ kind }) => kind === 'limits');
  assert.deepEqual(await limit(), { kind: 'limits', name: 'web' });
  const requestLimit = { perSecond: 5, burst: 10 };
  await put(catalog, '/v1/mesh/resilience/web', { requestLimit });
  assert.deepEqual(await limit(), { kind: 'limits', name: 'web', requestLimit });
  assert.equal((await send(catalog, 'DELETE', '/v1/mesh/resilience/web')).status, 200);
  assert.deepEqual(await limit(), { kind: 'limits', name: 'web' });
  await entry(catalog, 'service-defaults', 'web', {
    RateLimits: { InstanceLevel: { RequestsPerSecond: 9 } },
    UpstreamConfig: {
      Defaults: { ConnectTimeoutMs: 500, PassiveHealthCheck: { MaxFailures: 3, MaxEjectionPercent: 25 } },
      Overrides: [{ Name: 'db', Limits: { MaxConcurrentRequests: 7 } }, { Name: 'api' }],
    },
  });
  const defaults = { connectTimeoutMs: 500, outlier: { consecutiveFailures: 3, maxEjectedRatio: 0.25 } };
  const upstreams = { db: { ...defaults, maxConcurrentRequests: 7 } };
  const instanceLimits = { all: { perSecond: 9, burst: 9 } };
  assert.deepEqual(await limit(), { kind: 'limits', name: 'web', calling: { defaults, upstreams }, instanceLimits });
  feed.close();
  silent.close();
});

test('what a service lets pass is told to its proxies and to its callers, when it changes, for it and for all', async (t) => {
  const catalog = await startTestCatalog(t);
  const feed = await follow(catalog, 'proxy=p&service=web&upstream=db&limits=1');
  /** What is said of `web`, which answers, and of `db`, which is called; undefined: nothing changed. */
  const told = async () => {
    const { resources } = await feed.update();
    const of = (kind: string) => {
      const found = resources.find((resource) => resource.kind === kind);
      return found !== undefined && 'normalization' in found ? found.normalization : undefined;
    };
    return [of('limits'), of('upstream')];
  };
  const words = (escapedSlashes: string, underscores: string) => ({
    HTTP: {
      Incoming: {
        RequestNormalization: {
          PathWithEscapedSlashesAction: escapedSlashes,
          HeadersWithUnderscoresAction: underscores,
        },
      },
    },
  });
  assert.deepEqual(await told(), [undefined, undefined]);
  await entry(catalog, 'service-defaults', 'web', words('KEEP_UNCHANGED', ''));
  assert.deepEqual(await told(), [{ escapedSlashes: 'KEEP_UNCHANGED' }, undefined]);
  await entry(catalog, 'mesh', 'mesh', words('UNESCAPE_AND_FORWARD', 'ALLOW'));
  assert.deepEqual(await told(), [
    { escapedSlashes: 'KEEP_UNCHANGED', underscores: 'ALLOW' },
    { escapedSlashes: 'UNESCAPE_AND_FORWARD', underscores: 'ALLOW' },
  ]);
  await entry(catalog, 'service-defaults', 'db', words('REJECT_REQUEST', 'DROP_HEADER'));
  assert.deepEqual(await told(), [undefined, { underscores: 'DROP_HEADER' }]);
  assert.equal((await send(catalog, 'DELETE', '/v1/config/mesh/mesh')).status, 200);
  assert.deepEqual(await told(), [{ escapedSlashes: 'KEEP_UNCHANGED' }, undefined]);
  feed.close();
});

function upstreamIn({ resources }: { readonly resources: readonly FeedResource[] }): FeedUpstream {
  const upstream = resources.find((resource) => resource.kind === 'upstream');
  assert.ok(upstream?.kind === 'upstream');
  return upstream;
}

/** What a proxy that asks now is told. */
async function upstreamOf(catalog: RunningCatalog, name: string): Promise<FeedUpstream> {
  const feed = await follow(catalog, `proxy=p&service=web&upstream=${name}`);
  const upstream = upstreamIn(await feed.update());
  feed.close();
  return upstream;
}
