import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EntryKind, type KeptEntry, parseConfigEntry } from '../config-entries/config-entry.ts';
import { type ChainEntries, compileChain } from '../discovery-chain/compile.ts';
import { type FeedRouting, feedRoutingSchema } from '../wire/feed-routing.ts';
import { compileRouteTable } from './route-table.ts';
import { type ChainRouting, routingOfChain } from './routing-of-chain.ts';

type Body = { readonly Kind: EntryKind; readonly Name: string; readonly [field: string]: unknown };

/** The routing of `web`. Whatever comes of entries that go together is of the contract, and compiles. */
function routing(...bodies: readonly Body[]): ChainRouting | undefined {
  const all = [
    ...['web', 'db', 'api'].map((Name): Body => ({ Kind: 'service-defaults', Name, Protocol: 'http' })),
    ...bodies,
  ];
  const parsed: KeptEntry[] = all.map((body) => parseConfigEntry(body.Kind, body));
  const find = <Kind extends EntryKind>(kind: Kind, name: string) =>
    parsed.find((entry): entry is Extract<KeptEntry, { Kind: Kind }> => entry.Kind === kind && entry.Name === name);
  const entries: ChainEntries = {
    router: (service) => find('service-router', service),
    splitter: (service) => find('service-splitter', service),
    resolver: (service) => find('service-resolver', service),
    defaults: (service) => find('service-defaults', service),
    proxyDefaults: () => undefined,
  };
  const made = routingOfChain(compileChain({ service: 'web', datacenter: 'dc1', trustDomain: 'mesh.test' }, entries));
  if (made === undefined) return undefined;
  const targets: FeedRouting['targets'] = Object.fromEntries(
    Object.entries(made.targets).map(([name, { service }]) => [name, { service, endpoints: [], resilience: {} }]),
  );
  compileRouteTable(feedRoutingSchema.parse(JSON.parse(JSON.stringify({ ...made, targets }))));
  return made;
}

const resolver = (Name: string, more: object): Body => ({ Kind: 'service-resolver', Name, ...more });
const subsets = {
  Subsets: {
    v1: { Filter: 'Service.Meta.version == "1"' },
    v2: { Filter: 'Service.Meta.version == "2"', OnlyPassing: true },
  },
};

test('a service that is only itself needs no routing', () => {
  assert.equal(routing(), undefined);
  assert.equal(routing(resolver('web', { ConnectTimeout: '1s' })), undefined);
  assert.equal(routing(resolver('web', subsets)), undefined);
});

test('redirects, default subsets and failover are targets of one destination', () => {
  assert.deepEqual(routing(resolver('web', { Redirect: { Service: 'db' } })), {
    routes: [{ next: 'db' }],
    splitters: {},
    destinations: { db: { targets: ['db'] } },
    targets: { db: { service: 'db', subset: { filter: '', onlyPassing: false }, elsewhere: false } },
  });
  const made = routing(
    resolver('web', {
      ...subsets,
      DefaultSubset: 'v2',
      Failover: { v2: { Targets: [{ ServiceSubset: 'v1' }, { Service: 'db' }, { Datacenter: 'dc2' }] } },
    }),
  );
  assert.deepEqual(made?.destinations, { 'v2.web': { targets: ['v2.web', 'v1.web', 'db', 'v2.web@dc2'] } });
  assert.deepEqual(made?.targets['v2.web'], {
    service: 'web',
    subset: { filter: 'Service.Meta.version == "2"', onlyPassing: true },
    elsewhere: false,
  });
  assert.equal(made?.targets['v2.web@dc2']?.elsewhere, true);
});

test('splits keep their weights to a hundredth, and what is rounded away is not lost', () => {
  const made = routing(
    {
      Kind: 'service-splitter',
      Name: 'web',
      Splits: [
        { Weight: 33.33, Service: 'db' },
        { Weight: 66.67, Service: 'api' },
      ],
    },
    {
      Kind: 'service-splitter',
      Name: 'db',
      Splits: [{ Weight: 33.33 }, { Weight: 33.33, ServiceSubset: 'v1' }, { Weight: 33.34, ServiceSubset: 'v2' }],
    },
    resolver('db', subsets),
  );
  const splits = made?.splitters['split:web'] ?? [];
  assert.deepEqual(
    splits.map(({ next }) => next),
    ['db', 'v1.db', 'v2.db', 'api'],
  );
  assert.equal(
    splits.reduce((sum, { weight }) => sum + weight, 0),
    10_000,
  );
  assert.ok(splits.slice(0, 3).every(({ weight }) => weight === 1_111));
});

test('a router: its routes in order, in our units, and the rest to the service itself', () => {
  const made = routing(
    {
      Kind: 'service-router',
      Name: 'web',
      Routes: [
        {
          Match: {
            HTTP: { PathPrefix: '/v2', Methods: ['GET'], Header: [{ Name: 'x', Present: true, Invert: true }] },
          },
          Destination: {
            ServiceSubset: 'v2',
            PrefixRewrite: '/',
            RequestTimeout: '2s',
            IdleTimeout: '1m',
            NumRetries: 4,
            RetryOn: ['5xx', 'retriable-4xx', 'envoy-ratelimited'],
            RetryOnStatusCodes: [429],
            RequestHeaders: { Set: { 'X-A': '1' } },
          },
        },
        {
          Match: { HTTP: { QueryParam: [{ Name: 'v', Exact: '1' }] } },
          Destination: { Service: 'db', RetryOnConnectFailure: true },
        },
        { Match: { HTTP: { PathExact: '/x' } } },
      ],
    },
    resolver('web', { ...subsets, LoadBalancer: { Policy: 'least_request', LeastRequestConfig: { ChoiceCount: 3 } } }),
  );
  assert.deepEqual(made?.routes, [
    {
      match: { pathPrefix: '/v2', methods: ['GET'], headers: [{ name: 'x', present: true, invert: true }] },
      next: 'v2.web',
      prefixRewrite: '/',
      requestTimeoutMs: 2_000,
      idleTimeoutMs: 60_000,
      retries: {
        attempts: 4,
        on: ['5xx', 'reset', 'connect-failure', 'refused', 'envoy-ratelimited'],
        statuses: [429, 409],
      },
      requestHeaders: { set: { 'X-A': '1' } },
    },
    {
      match: { queryParameters: [{ name: 'v', exact: '1' }] },
      next: 'db',
      retries: { attempts: 1, on: ['connect-failure', 'refused'] },
    },
    { match: { pathExact: '/x' }, next: 'web' },
    { next: 'web' },
  ]);
  assert.deepEqual(made?.destinations['v2.web']?.loadBalancer, { policy: 'least-request', choices: 3 });
});

test('hash policies', () => {
  const made = routing(
    resolver('web', {
      LoadBalancer: {
        Policy: 'ring_hash',
        RingHashConfig: { MinimumRingSize: 10, MaximumRingSize: 20 },
        HashPolicies: [
          { Field: 'cookie', FieldValue: 'stick', CookieConfig: { TTL: '60s', Path: '/' }, Terminal: true },
          { SourceIP: true },
        ],
      },
    }),
  );
  assert.deepEqual(made?.destinations['web']?.loadBalancer, {
    policy: 'ring-hash',
    hash: [{ on: 'cookie', name: 'stick', cookie: { ttlMs: 60_000, path: '/' }, terminal: true }, { on: 'source-ip' }],
    minimumRingSize: 10,
    maximumRingSize: 20,
  });
});
