import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { leavesOf } from '#test/schema-leaves.ts';
import { ConsulError } from '../consul/consul-error.ts';
import { type ChainEntries, compileChain } from '../discovery-chain/compile.ts';
import { routingOfChain } from '../routing/routing-of-chain.ts';
import { type EntriesByKind, type KeptEntry, parseConfigEntry } from './config-entry.ts';
import { proxyDefaultsSchema } from './proxy-defaults.ts';
import { instanceLimitsOf } from './rate-limits.ts';
import { serviceDefaultsSchema } from './service-defaults.ts';
import { serviceResolverSchema } from './service-resolver.ts';
import { serviceRouterSchema } from './service-router.ts';
import { serviceSplitterSchema } from './service-splitter.ts';
import { callingOf } from './upstream-config.ts';
import { fieldsWithoutEffect } from './without-effect.ts';

/**
 * Every field of the entries that say how calls go, one by one: it changes what the proxies are told, or the writer is told its name, or it is refused by name. No
 * field is silently nothing.
 */

const root = join(import.meta.dirname, '..', '..');
const schemas = {
  'service-resolver': serviceResolverSchema,
  'service-router': serviceRouterSchema,
  'service-splitter': serviceSplitterSchema,
  'service-defaults': serviceDefaultsSchema,
  'proxy-defaults': proxyDefaultsSchema,
} as const;
type Kind = keyof typeof schemas;

/** `told`: the compiled chain is another one. `shownBy`: a test that shows it. `named`: in the warning. `refused`: with these words. */
type Fate = 'told' | { shownBy: string } | { named: string } | { refused: RegExp };

/** A field, a value, what becomes of it, and what else the entry needs to say. `*` is the key `v1`, `[]` the first item. */
type Row = readonly [path: string, value: unknown, fate: Fate, around?: object];

const onlyDefault: Fate = { refused: /the only one is "default"/ };
const sameness: Fate = { refused: /unknown field "SamenessGroup"/ };
const byLocality: Fate = { shownBy: 'catalog/feed/upstream-routing.test.ts' };
const hashed = (policy: object) => ({ LoadBalancer: { Policy: 'maglev', HashPolicies: [policy] } });
const http = (match: object) => ({ Routes: [{ Match: { HTTP: match } }] });
const modifiers = (at: string): Row[] => [
  [`${at}.RequestHeaders.Add`, { a: 'b' }, 'told'],
  [`${at}.RequestHeaders.Set`, { a: 'b' }, 'told'],
  [`${at}.RequestHeaders.Remove`, ['a'], 'told'],
  [`${at}.ResponseHeaders.Add`, { a: 'b' }, 'told'],
  [`${at}.ResponseHeaders.Set`, { a: 'b' }, 'told'],
  [`${at}.ResponseHeaders.Remove`, ['a'], 'told'],
];
const named = (...fields: readonly (readonly [path: string, value: unknown])[]): Row[] =>
  fields.map(([path, value]) => [path, value, { named: path }]);

const odd = 'HTTP.Incoming.RequestNormalization';
/** Of all upstreams, or of one. */
const upstream = (at: string, around: object): Row[] => {
  const told: Fate = 'told';
  const idle = (path: string, value: unknown): Row => [
    `${at}.${path}`,
    value,
    { named: `UpstreamConfig.${path.replace('.Mode', '')}` },
    around,
  ];
  return [
    [`${at}.Namespace`, 'team', onlyDefault, around],
    [`${at}.Partition`, 'team', onlyDefault, around],
    [`${at}.ConnectTimeoutMs`, 5, told, around],
    [`${at}.Limits.MaxConnections`, 0, told, around],
    [`${at}.Limits.MaxConcurrentRequests`, 0, told, around],
    [`${at}.PassiveHealthCheck.MaxFailures`, 3, told, around],
    [`${at}.PassiveHealthCheck.MaxEjectionPercent`, 0, told, around],
    [`${at}.PassiveHealthCheck.BaseEjectionTime`, '5s', told, around],
    [`${at}.PassiveHealthCheck.EnforcingConsecutive5xx`, 0, told, around],
    idle('PassiveHealthCheck.EnforcingConsecutive5xx', 50),
    idle('PassiveHealthCheck.EnforcingConsecutiveGatewayFailure', 100),
    idle('PassiveHealthCheck.ConsecutiveGatewayFailure', 5),
    idle('PassiveHealthCheck.Consecutive5xx', 5),
    idle('PassiveHealthCheck.Interval', '10s'),
    idle('Limits.MaxPendingRequests', 0),
    idle('Protocol', 'http'),
    idle('MeshGateway.Mode', 'local'),
    idle('EnvoyListenerJSON', '{}'),
    idle('EnvoyClusterJSON', '{}'),
    idle('BalanceOutboundConnections', 'exact_balance'),
    idle('Peer', 'east'),
  ];
};
const limitedRoute = { RateLimits: { InstanceLevel: { Routes: [{ PathPrefix: '/a', RequestsPerSecond: 5 }] } } };
const normalization: Fate = { shownBy: 'catalog/feed/upstream-routing.test.ts' };

const rows: Readonly<Record<Kind, readonly Row[]>> = {
  'service-resolver': [
    ['DefaultSubset', 'v1', 'told'],
    ['Subsets.*.Filter', 'Service.Meta.v == 3', 'told', { DefaultSubset: 'v1' }],
    ['Subsets.*.OnlyPassing', true, 'told', { DefaultSubset: 'v1' }],
    ['Redirect.Service', 'other', 'told'],
    ['Redirect.ServiceSubset', 'o1', 'told', { Redirect: { Service: 'other' } }],
    ['Redirect.Namespace', 'team', onlyDefault, { Redirect: { Service: 'other' } }],
    ['Redirect.Partition', 'team', onlyDefault, { Redirect: { Service: 'other' } }],
    ['Redirect.Datacenter', 'dc2', { named: 'Redirect.Datacenter' }, { Redirect: { Service: 'other' } }],
    ['Redirect.Peer', 'east', { named: 'Redirect.Peer' }, { Redirect: { Service: 'other' } }],
    ['Redirect.SamenessGroup', 'all', sameness],
    ['Failover.*.Service', 'other', 'told', { DefaultSubset: 'v1' }],
    ['Failover.*.ServiceSubset', 'v2', 'told', { DefaultSubset: 'v1' }],
    ['Failover.*.Namespace', 'team', onlyDefault],
    ['Failover.*.SamenessGroup', 'all', sameness],
    ['Failover.*.Datacenters', ['dc1', 'dc2'], { named: 'Failover.Datacenters' }],
    ['Failover.*.Targets[].Service', 'other', 'told', { DefaultSubset: 'v1' }],
    ['Failover.*.Targets[].ServiceSubset', 'v2', 'told', { DefaultSubset: 'v1' }],
    ['Failover.*.Targets[].Namespace', 'team', onlyDefault],
    ['Failover.*.Targets[].Partition', 'team', onlyDefault],
    ['Failover.*.Targets[].Datacenter', 'dc2', { named: 'Failover.Targets.Datacenter' }],
    ['Failover.*.Targets[].Peer', 'east', { named: 'Failover.Targets.Peer' }],
    [
      'Failover.*.Policy.Mode',
      'order-by-locality',
      { named: 'Failover.Policy.Mode' },
      { Failover: { v1: { Service: 'other' } } },
    ],
    [
      'Failover.*.Policy.Regions',
      ['eu'],
      { named: 'Failover.Policy.Regions' },
      { Failover: { v1: { Service: 'other' } } },
    ],
    ['ConnectTimeout', '3s', 'told'],
    ['RequestTimeout', '3s', 'told'],
    ['LoadBalancer.Policy', 'random', 'told'],
    ['LoadBalancer.RingHashConfig.MinimumRingSize', 8, 'told', { LoadBalancer: { Policy: 'ring_hash' } }],
    ['LoadBalancer.RingHashConfig.MaximumRingSize', 8, 'told', { LoadBalancer: { Policy: 'ring_hash' } }],
    [
      'LoadBalancer.RingHashConfig.MaximumRingSize',
      65_537,
      { named: 'LoadBalancer.RingHashConfig' },
      { LoadBalancer: { Policy: 'ring_hash' } },
    ],
    ['LoadBalancer.LeastRequestConfig.ChoiceCount', 3, 'told', { LoadBalancer: { Policy: 'least_request' } }],
    ['LoadBalancer.HashPolicies[].Field', 'cookie', 'told', hashed({ Field: 'header', FieldValue: 'a' })],
    ['LoadBalancer.HashPolicies[].FieldValue', 'b', 'told', hashed({ Field: 'header', FieldValue: 'a' })],
    ['LoadBalancer.HashPolicies[].SourceIP', true, 'told', hashed({})],
    ['LoadBalancer.HashPolicies[].Terminal', true, 'told', hashed({ SourceIP: true })],
    ['LoadBalancer.HashPolicies[].Terminal', true, { named: 'LoadBalancer.HashPolicies' }, hashed({})],
    [
      'LoadBalancer.HashPolicies[].CookieConfig.Session',
      true,
      'told',
      hashed({ Field: 'cookie', FieldValue: 'a', CookieConfig: { Path: '/x' } }),
    ],
    ['LoadBalancer.HashPolicies[].CookieConfig.TTL', '1m', 'told', hashed({ Field: 'cookie', FieldValue: 'a' })],
    [
      'LoadBalancer.HashPolicies[].CookieConfig.Path',
      '/x',
      'told',
      hashed({ Field: 'cookie', FieldValue: 'a', CookieConfig: { Session: true } }),
    ],
    ['PrioritizeByLocality.Mode', 'failover', byLocality],
    ['PrioritizeByLocality.Mode', 'nearest', { refused: /Prioritize by locality mode/ }],
  ],
  'service-router': [
    ['Routes[].Match.HTTP.PathExact', '/a', 'told'],
    ['Routes[].Match.HTTP.PathPrefix', '/a', 'told'],
    ['Routes[].Match.HTTP.PathRegex', '/a', 'told'],
    ['Routes[].Match.HTTP.CaseInsensitive', true, 'told', http({ PathExact: '/a' })],
    ['Routes[].Match.HTTP.Header[].Name', 'b', 'told', http({ Header: [{ Name: 'a', Present: true }] })],
    ['Routes[].Match.HTTP.Header[].Present', true, 'told', http({ Header: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.Header[].Exact', 'x', 'told', http({ Header: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.Header[].Prefix', 'x', 'told', http({ Header: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.Header[].Suffix', 'x', 'told', http({ Header: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.Header[].Regex', 'x', 'told', http({ Header: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.Header[].Invert', true, 'told', http({ Header: [{ Name: 'a', Present: true }] })],
    ['Routes[].Match.HTTP.QueryParam[].Name', 'b', 'told', http({ QueryParam: [{ Name: 'a', Present: true }] })],
    ['Routes[].Match.HTTP.QueryParam[].Present', true, 'told', http({ QueryParam: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.QueryParam[].Exact', 'x', 'told', http({ QueryParam: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.QueryParam[].Regex', 'x', 'told', http({ QueryParam: [{ Name: 'a' }] })],
    ['Routes[].Match.HTTP.Methods', ['GET'], 'told'],
    ['Routes[].Destination.Service', 'other', 'told'],
    ['Routes[].Destination.ServiceSubset', 'o1', 'told', { Routes: [{ Destination: { Service: 'other' } }] }],
    ['Routes[].Destination.Namespace', 'team', onlyDefault],
    ['Routes[].Destination.Partition', 'team', onlyDefault],
    ['Routes[].Destination.PrefixRewrite', '/b', 'told', http({ PathPrefix: '/a' })],
    ['Routes[].Destination.RequestTimeout', '3s', 'told'],
    ['Routes[].Destination.IdleTimeout', '3s', 'told'],
    ['Routes[].Destination.NumRetries', 3, 'told'],
    ['Routes[].Destination.NumRetries', 11, { named: 'NumRetries' }],
    ['Routes[].Destination.RetryOnConnectFailure', true, 'told'],
    ...[
      ...['5xx', 'gateway-error', 'reset', 'connect-failure', 'envoy-ratelimited', 'retriable-4xx', 'refused-stream'],
      ...['cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'],
    ].map((word): Row => ['Routes[].Destination.RetryOn', [word], 'told']),
    ['Routes[].Destination.RetryOnStatusCodes', [429], 'told'],
    ['Routes[].Destination.RetryOnStatusCodes', [99], { named: 'RetryOnStatusCodes' }],
    ...modifiers('Routes[].Destination'),
  ],
  'service-splitter': [
    ['Splits[].Weight', 100, 'told', { Splits: [{ Weight: 60 }, { Weight: 0, Service: 'other' }] }],
    ['Splits[].Service', 'other', 'told', { Splits: [{ Weight: 100 }] }],
    ['Splits[].ServiceSubset', 'o1', 'told', { Splits: [{ Weight: 100, Service: 'other' }] }],
    ['Splits[].Namespace', 'team', onlyDefault, { Splits: [{ Weight: 100 }] }],
    ['Splits[].Partition', 'team', onlyDefault, { Splits: [{ Weight: 100 }] }],
    ...modifiers('Splits[]').map(
      ([path, value, fate]): Row => [path, value, fate, { Splits: [{ Weight: 100, Service: 'other' }] }],
    ),
  ],
  'service-defaults': [
    ['Protocol', 'grpc', 'told'],
    ['Protocol', 'udp', { refused: /none of tcp, http, http2, grpc/ }],
    [
      'UpstreamConfig.Overrides[].Name',
      'api',
      'told',
      { UpstreamConfig: { Overrides: [{ Name: 'db', ConnectTimeoutMs: 1 }] } },
    ],
    ...upstream('UpstreamConfig.Overrides[]', { UpstreamConfig: { Overrides: [{ Name: 'db' }] } }),
    ['UpstreamConfig.Defaults.Name', 'db', { refused: /Name must be empty/ }],
    ...upstream('UpstreamConfig.Defaults', {}),
    ['RateLimits.InstanceLevel.RequestsPerSecond', 5, 'told'],
    [
      'RateLimits.InstanceLevel.RequestsMaxBurst',
      9,
      'told',
      { RateLimits: { InstanceLevel: { RequestsPerSecond: 5 } } },
    ],
    ...(['PathExact', 'PathPrefix', 'PathRegex'] as const).map(
      (field): Row => [
        `RateLimits.InstanceLevel.Routes[].${field}`,
        '/a',
        'told',
        { RateLimits: { InstanceLevel: { Routes: [{ RequestsPerSecond: 5 }] } } },
      ],
    ),
    ['RateLimits.InstanceLevel.Routes[].RequestsPerSecond', 6, 'told', limitedRoute],
    ['RateLimits.InstanceLevel.Routes[].RequestsMaxBurst', 6, 'told', limitedRoute],
    ['RateLimits.InstanceLevel.Routes[].RequestsMaxBurst', 1, { refused: /RequestsMaxBurst must be/ }, limitedRoute],
    ['RateLimits.InstanceLevel.Routes[].PathExact', '/b', { refused: /exactly one of/ }, limitedRoute],
    ['HTTP.Incoming.RequestNormalization.PathWithEscapedSlashesAction', 'KEEP_UNCHANGED', normalization],
    ['HTTP.Incoming.RequestNormalization.HeadersWithUnderscoresAction', 'ALLOW', normalization],
    [`${odd}.InsecureDisablePathNormalization`, true, { refused: /is not offered/ }],
    [`${odd}.MergeSlashes`, true, { shownBy: 'policies/canonical-request.test.ts' }],
    [`${odd}.PathWithEscapedSlashesAction`, 'KEEP_UNCHANGED', { shownBy: 'catalog/feed/upstream-routing.test.ts' }],
    [`${odd}.HeadersWithUnderscoresAction`, 'ALLOW', { shownBy: 'catalog/feed/upstream-routing.test.ts' }],
    ...named(
      ['Mode', 'transparent'],
      ['TransparentProxy', { OutboundListenerPort: 1 }],
      ['MutualTLSMode', 'permissive'],
      ['MeshGateway', { Mode: 'local' }],
      ['Expose', { Checks: true }],
      ['EnvoyExtensions', [{ Name: 'builtin/lua' }]],
      ['ExternalSNI', 'db.example'],
      ['Destination', { Addresses: ['db.example'], Port: 443 }],
      ['MaxInboundConnections', 1],
      ['LocalConnectTimeoutMs', 1],
      ['LocalRequestTimeoutMs', 1],
      ['BalanceInboundConnections', 'exact_balance'],
      ['MaxRequestHeadersKB', 1],
    ),
  ],
  'proxy-defaults': [
    ['Config', { protocol: 'grpc' }, 'told'],
    ['Config', { local_idle_timeout_ms: 0 }, { named: 'Config.local_idle_timeout_ms' }],
    ['FailoverPolicy.Mode', 'order-by-locality', { named: 'FailoverPolicy.Mode' }],
    ['FailoverPolicy.Regions', ['eu'], { named: 'FailoverPolicy.Regions' }],
    ['PrioritizeByLocality.Mode', 'failover', byLocality],
    ['PrioritizeByLocality.Mode', 'nearest', { refused: /Prioritize by locality mode/ }],
    ...named(
      ['Mode', 'transparent'],
      ['TransparentProxy', { DialedDirectly: true }],
      ['MutualTLSMode', 'permissive'],
      ['MeshGateway', { Mode: 'remote' }],
      ['Expose', { Paths: [{ Path: '/', ListenerPort: 1, ParsedFromCheck: false }] }],
      ['EnvoyExtensions', [{ Name: 'builtin/lua' }]],
      ['AccessLogs', { Enabled: true }],
    ),
  ],
};

/** Of every entry: who it is, and what clients send back that read it. */
const ofAll = ['Kind', 'Name', 'Meta', 'Namespace', 'Partition', 'Hash', 'CreateIndex', 'ModifyIndex'];

for (const kind of Object.keys(schemas) as Kind[]) {
  test(`${kind}: each field has an effect, or its name is told, or it is refused`, () => {
    for (const [path, value, fate, around = {}] of rows[kind]) {
      const place = `${kind} ${path} = ${JSON.stringify(value)}`;
      const before = { ...bare(kind), ...around };
      const sent = withField(before, path.split(/\.|(?=\[\])/), value);
      if (typeof fate === 'object' && 'refused' in fate) {
        assert.throws(() => parseConfigEntry(kind, sent), { message: fate.refused }, place);
        continue;
      }
      const entry = parseConfigEntry(kind, sent);
      const idle = fieldsWithoutEffect(entry, 'dc1').map((name) => name.replace(/[:(].*/, ''));
      if (typeof fate === 'object' && 'named' in fate) {
        assert.deepEqual(idle, [fate.named], place);
        continue;
      }
      assert.deepEqual(idle, [], place);
      if (fate === 'told') assert.notEqual(told(entry), told(parsed(kind, before)), place);
      else assert.ok(existsSync(join(root, fate.shownBy)), place);
    }
  });

  test(`${kind}: no field is without a row`, () => {
    const paths = rows[kind].map(([path]) => path);
    const leaves = leavesOf(schemas[kind]);
    assert.ok(leaves.length > 10, leaves.join(' '));
    const missing = leaves
      .filter((leaf) => !ofAll.includes(leaf))
      .filter(
        (leaf) => !paths.some((path) => leaf === path || leaf.startsWith(`${path}.`) || leaf.startsWith(`${path}[`)),
      );
    assert.deepEqual(missing, []);
  });
}

test('what is done anyway is not named: sequential failover, direct proxies, strict mTLS, the own datacenter', () => {
  for (const [kind, fields] of [
    ['service-resolver', { Failover: { v1: { Service: 'other', Policy: { Mode: 'sequential' } } } }],
    ['service-resolver', { Failover: { v1: { Datacenters: ['dc1'] } } }],
    ['service-resolver', { Redirect: { Service: 'other', Datacenter: 'dc1' } }],
    ['proxy-defaults', { FailoverPolicy: { Mode: 'sequential' }, Mode: 'direct', MutualTLSMode: 'strict' }],
  ] as const) {
    assert.deepEqual(fieldsWithoutEffect(parseConfigEntry(kind, { ...bare(kind), ...fields }), 'dc1'), []);
  }
});

test('docs/consul-compatibility.md names every field that is not acted on', () => {
  const page = readFileSync(join(root, 'docs', 'consul-compatibility.md'), 'utf8');
  for (const kind of Object.keys(schemas) as Kind[]) {
    for (const [, , fate] of rows[kind]) {
      if (typeof fate === 'object' && 'named' in fate)
        assert.ok(page.includes(`\`${fate.named.replace(/Config\..*/, 'Config')}\``), `${kind} ${fate.named}`);
    }
  }
});

/** An entry that says next to nothing. */
function bare(kind: Kind): object {
  const Name = kind === 'proxy-defaults' ? 'global' : 'web';
  return { Kind: kind, Name, ...(kind === 'service-resolver' ? { Subsets: { v1: {}, v2: {} } } : {}) };
}

/** Undefined where it can't be without the field. */
function parsed(kind: Kind, sent: object): KeptEntry | undefined {
  try {
    return parseConfigEntry(kind, sent);
  } catch (error) {
    if (error instanceof ConsulError) return undefined;
    throw error;
  }
}

/** What the proxies that call `web` are told because of an entry. */
function told(entry: KeptEntry | undefined): string {
  const of = <K extends keyof EntriesByKind>(kind: K, name: string): EntriesByKind[K] | undefined =>
    entry?.Kind === kind && (entry.Name === name || name === 'global') ? (entry as EntriesByKind[K]) : undefined;
  const other = parseConfigEntry('service-resolver', { Name: 'other', Kind: 'service-resolver', Subsets: { o1: {} } });
  const defaults = parseConfigEntry('service-defaults', { Name: 'x', Kind: 'service-defaults', Protocol: 'http' });
  const protocolAsked = entry?.Kind === 'service-defaults' || entry?.Kind === 'proxy-defaults';
  const entries: ChainEntries = {
    router: (service) => of('service-router', service),
    splitter: (service) => of('service-splitter', service),
    resolver: (service) => (service === 'other' ? other : of('service-resolver', service)),
    defaults: (service) => (protocolAsked ? of('service-defaults', service) : defaults),
    proxyDefaults: () => of('proxy-defaults', 'global'),
  };
  const chain = compileChain({ service: 'web', datacenter: 'dc1', trustDomain: 'mesh.test' }, entries);
  const times = Object.values(chain.Nodes).map((node) =>
    node.Type === 'resolver' ? [node.Resolver.ConnectTimeout, node.Resolver.RequestTimeout] : [],
  );
  const own = entry?.Kind === 'service-defaults' ? [callingOf(entry), instanceLimitsOf(entry)] : [];
  return JSON.stringify([chain.Protocol, times, routingOfChain(chain), own]);
}

type Step = Readonly<Record<string, unknown>> | readonly unknown[] | undefined;

/** A copy of it with one field set. */
function withField(of: unknown, [step, ...further]: readonly string[], value: unknown): unknown {
  if (step === undefined) return value;
  if (step === '[]') {
    const [first, ...rest] = (of ?? []) as readonly unknown[];
    return [withField(first, further, value), ...rest];
  }
  const key = step === '*' ? 'v1' : step;
  const fields = (of ?? {}) as Exclude<Step, readonly unknown[] | undefined>;
  return { ...fields, [key]: withField(fields[key], further, value) };
}
