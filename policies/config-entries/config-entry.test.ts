import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConsulError } from '../consul/consul-error.ts';
import { type EntryKind, entryKinds, parseConfigEntry } from './config-entry.ts';
import { normalizationSaid } from './request-normalization.ts';
import { fieldsWithoutEffect } from './without-effect.ts';

/** Consul's config entries as they come and as they are shown. In one file: a table of all kinds, and what is refused of each. */

const refused = (kind: EntryKind, entry: object, text: RegExp | string): void => {
  assert.throws(
    () => parseConfigEntry(kind, { Kind: kind, ...entry }),
    (error) => {
      assert.ok(error instanceof ConsulError, String(error));
      assert.equal(error.status, 400);
      if (typeof text === 'string') assert.equal(error.message, text);
      else assert.match(error.message, text);
      return true;
    },
    JSON.stringify(entry),
  );
};

/** What an entry says of odd requests. */
const normalizing = (words: object) => ({ HTTP: { Incoming: { RequestNormalization: words } } });

/** One entry of each kind as a client may send it, and as Consul shows it. */
const examples: readonly (readonly [kind: EntryKind, sent: object, shown: object])[] = [
  [
    'service-defaults',
    {
      kind: 'service-defaults',
      name: 'web',
      protocol: 'HTTP',
      mutual_tls_mode: 'strict',
      mesh_gateway: { mode: 'local' },
      upstream_config: {
        defaults: {
          connect_timeout_ms: -1,
          limits: { max_connections: 0, max_pending_requests: null },
          passive_health_check: { interval: '10s', max_failures: 3, base_ejection_time: '0s' },
        },
        overrides: [{ name: 'db', protocol: 'GRPC' }],
      },
      max_inbound_connections: 7,
      meta: { a: 'b' },
      create_index: 4,
    },
    {
      Kind: 'service-defaults',
      Name: 'web',
      Protocol: 'http',
      TransparentProxy: {},
      MutualTLSMode: 'strict',
      MeshGateway: { Mode: 'local' },
      Expose: {},
      UpstreamConfig: {
        Defaults: {
          Limits: { MaxConnections: 0 },
          PassiveHealthCheck: { Interval: 10_000_000_000, MaxFailures: 3, BaseEjectionTime: 0 },
          MeshGateway: {},
        },
        Overrides: [{ Name: 'db', Protocol: 'grpc', MeshGateway: {} }],
      },
      MaxInboundConnections: 7,
      Meta: { a: 'b' },
    },
  ],
  [
    'proxy-defaults',
    { Kind: 'proxy-defaults', Config: { protocol: 'http', local_idle_timeout_ms: 0 }, AccessLogs: { Enabled: true } },
    {
      Kind: 'proxy-defaults',
      Name: 'global',
      Config: { protocol: 'http', local_idle_timeout_ms: 0 },
      TransparentProxy: {},
      MeshGateway: {},
      Expose: {},
      AccessLogs: { Enabled: true },
    },
  ],
  [
    'service-resolver',
    {
      Kind: 'service-resolver',
      Name: 'web',
      default_subset: 'v1',
      subsets: { v1: { filter: 'Service.Meta.version == v1' }, v2: { only_passing: true } },
      failover: { '*': { service: 'other', datacenters: ['dc2'] } },
      connect_timeout: 1_500_000_000,
      request_timeout: '0s',
      load_balancer: {
        policy: 'maglev',
        hash_policies: [{ field: 'cookie', field_value: 'id', cookie_config: { ttl: '1m' } }],
      },
    },
    {
      Kind: 'service-resolver',
      Name: 'web',
      DefaultSubset: 'v1',
      Subsets: { v1: { Filter: 'Service.Meta.version == v1' }, v2: { OnlyPassing: true } },
      Failover: { '*': { Service: 'other', Datacenters: ['dc2'] } },
      ConnectTimeout: '1.5s',
      LoadBalancer: {
        Policy: 'maglev',
        HashPolicies: [{ Field: 'cookie', FieldValue: 'id', CookieConfig: { TTL: 60_000_000_000 } }],
      },
    },
  ],
  [
    'service-router',
    {
      Kind: 'service-router',
      Name: 'web',
      Routes: [
        {
          Match: { HTTP: { PathPrefix: '/admin', Methods: ['get'], Header: [{ Name: 'x', Present: true }] } },
          Destination: { Service: 'admin', Namespace: 'default', RequestTimeout: '250ms', NumRetries: 2 },
        },
        {},
      ],
    },
    {
      Kind: 'service-router',
      Name: 'web',
      Routes: [
        {
          Match: { HTTP: { PathPrefix: '/admin', Methods: ['GET'], Header: [{ Name: 'x', Present: true }] } },
          Destination: { Service: 'admin', RequestTimeout: '250ms', NumRetries: 2 },
        },
        {},
      ],
    },
  ],
  [
    'service-splitter',
    { Kind: 'service-splitter', Name: 'web', Splits: [{ Weight: 99.999 }, { Weight: 0, Service: 'canary' }] },
    { Kind: 'service-splitter', Name: 'web', Splits: [{ Weight: 100 }, { Weight: 0, Service: 'canary' }] },
  ],
  [
    'mesh',
    {
      Kind: 'mesh',
      tls: { incoming: { tls_min_version: 'TLSv1_2' } },
      http: { incoming: { request_normalization: { merge_slashes: true, headers_with_underscores_action: 'ALLOW' } } },
      peering: null,
    },
    {
      Kind: 'mesh',
      Name: 'mesh',
      TransparentProxy: { MeshDestinationsOnly: false },
      TLS: { Incoming: { TLSMinVersion: 'TLSv1_2' } },
      HTTP: {
        SanitizeXForwardedClientCert: false,
        Incoming: {
          RequestNormalization: {
            InsecureDisablePathNormalization: false,
            MergeSlashes: true,
            PathWithEscapedSlashesAction: '',
            HeadersWithUnderscoresAction: 'ALLOW',
          },
        },
      },
    },
  ],
  [
    'exported-services',
    { Kind: 'exported-services', Name: 'default', Services: [{ Name: 'web', Consumers: [{ Peer: 'east' }] }] },
    { Kind: 'exported-services', Name: 'default', Services: [{ Name: 'web', Consumers: [{ Peer: 'east' }] }] },
  ],
  [
    'jwt-provider',
    { Kind: 'jwt-provider', Name: 'okta', issuer: 'okta', json_web_key_set: { local: { jwks: 'e30=' } } },
    {
      Kind: 'jwt-provider',
      Name: 'okta',
      Issuer: 'okta',
      JSONWebKeySet: { Local: { JWKS: 'e30=' } },
      ClockSkewSeconds: 30,
    },
  ],
];

test('an entry of each kind, in either spelling, as Consul shows it', () => {
  assert.deepEqual(examples.map(([kind]) => kind).toSorted(), entryKinds.toSorted());
  for (const [kind, sent, shown] of examples) assert.deepEqual(parseConfigEntry(kind, sent), shown, kind);
});

test('what is shown can be written, and is then shown the same', () => {
  for (const [kind, sent] of examples) {
    const shown = parseConfigEntry(kind, sent);
    const again = parseConfigEntry(kind, {
      ...JSON.parse(JSON.stringify(shown)),
      CreateIndex: 1,
      ModifyIndex: 2,
      Hash: 3,
    });
    assert.deepEqual(again, shown, kind);
  }
});

test('service-defaults that Consul refuses', () => {
  for (const [entry, text] of [
    [{}, 'Name is required'],
    [{ Name: '*' }, 'service-defaults name must be the name of a service, and not a wildcard'],
    [{ Name: 'web', Protocol: 'udp' }, /"udp" is none of tcp, http, http2, grpc/],
    [{ Name: 'web', BalanceInboundConnections: 'x' }, 'invalid value for balance_inbound_connections: x'],
    [{ Name: 'web', UpstreamConfig: { Defaults: { Name: 'db' } } }, 'error in upstream defaults: Name must be empty'],
    [{ Name: 'web', UpstreamConfig: { Overrides: [{}] } }, 'error in upstream override for : Name is required'],
    [
      { Name: 'web', UpstreamConfig: { Defaults: { Limits: { MaxConnections: -1 } } } },
      'error in upstream defaults: max connections cannot be negative',
    ],
    [
      { Name: 'web', UpstreamConfig: { Defaults: { PassiveHealthCheck: { MaxEjectionPercent: 101 } } } },
      /max_ejection_percent must be a percentage between 0 and 100/,
    ],
    [
      { Name: 'web', UpstreamConfig: {}, Destination: { Addresses: ['a.b'], Port: 1 } },
      'UpstreamConfig and Destination are mutually exclusive for service defaults',
    ],
    [{ Name: 'web', Destination: { Port: 1 } }, 'Destination must contain at least one valid address'],
    [{ Name: 'web', Destination: { Addresses: ['a', 'a'], Port: 1 } }, "Duplicate address 'a' is not allowed"],
    [{ Name: 'web', Destination: { Addresses: ['*.a'], Port: 1 } }, /as an IP or Hostname/],
    [{ Name: 'web', Destination: { Addresses: ['::1'], Port: 0 } }, 'Invalid Port number 0'],
    [{ Name: 'web', Meta: { a: 'x'.repeat(513) } }, 'Meta value for key "a" exceeds maximum length 512'],
    [{ Name: 'web', Protocl: 'http' }, /unknown field "Protocl", did you mean Protocol\?/],
    [{ Name: 'web', Namespace: 'team' }, /the only one is "default"/],
    [{ Name: 'web', protocol: 'tcp', Protocol: 'http' }, /comes twice/],
  ] as const) {
    refused('service-defaults', entry, text);
  }
});

test('resolvers that Consul refuses', () => {
  for (const [entry, text] of [
    [{ Subsets: { V1: {} } }, /^Subset "V1" is invalid/],
    [{ Subsets: { v1: { Filter: 'Service.Meta.version ==' } } }, /^Filter for subset "v1" is not a valid expression/],
    [{ DefaultSubset: 'v1' }, 'DefaultSubset "v1" is not a valid subset'],
    [{ Redirect: {} }, 'Redirect is empty'],
    [{ Redirect: { Service: 'b' }, Failover: { '*': { Service: 'c' } } }, 'Redirect and Failover cannot both be set'],
    [{ Redirect: { ServiceSubset: 'v1' } }, 'Redirect.ServiceSubset defined without Redirect.Service'],
    [
      { Redirect: { Service: 'web', ServiceSubset: 'v1' } },
      'Redirect.ServiceSubset "v1" is not a valid subset of "web"',
    ],
    [
      { Redirect: { Service: 'b', Peer: 'p', Datacenter: 'd' } },
      'Redirect.Peer cannot be set with Redirect.Datacenter',
    ],
    [{ Failover: { v1: { Service: 'b' } } }, 'Bad Failover["v1"]: not a valid subset subset'],
    [
      { Failover: { '*': {} } },
      'Bad Failover["*"]: one of Service, ServiceSubset, Namespace, Targets, or Datacenters is required',
    ],
    [
      { Failover: { '*': { Targets: [{ Service: 'b' }], Datacenters: ['d'] } } },
      'Bad Failover["*"]: Targets cannot be set with Datacenters',
    ],
    [
      { Failover: { '*': { Targets: [{ Peer: 'p', ServiceSubset: 'v' }] } } },
      'Bad Failover["*"].Targets[0]: Peer cannot be set with ServiceSubset',
    ],
    [
      { Failover: { '*': { Service: 'b', Policy: { Mode: 'x' } } } },
      `Bad Failover["*"]: Policy must be one of '', 'sequential', or 'order-by-locality'`,
    ],
    [{ Failover: { '*': { Datacenters: [''] } } }, 'Bad Failover["*"].Datacenters: found empty datacenter'],
    [
      { PrioritizeByLocality: { Mode: 'nearest' } },
      "Prioritize by locality mode must be one of '', 'none', or 'failover'",
    ],
    [{ ConnectTimeout: '-1s' }, "Bad ConnectTimeout '-1s', must be >= 0"],
    [{ ConnectTimeout: '1 day' }, /invalid duration "1 day"/],
    [{ LoadBalancer: { Policy: 'x' } }, 'Bad LoadBalancer policy: "x" is not supported'],
    [
      { LoadBalancer: { Policy: 'random', RingHashConfig: {} } },
      'Bad LoadBalancer configuration. RingHashConfig specified for incompatible load balancing policy "random"',
    ],
    [
      { LoadBalancer: { HashPolicies: [{ SourceIP: true }] } },
      'Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: ""',
    ],
    [
      { LoadBalancer: { Policy: 'maglev', HashPolicies: [{ Field: 'header' }] } },
      'Bad LoadBalancer HashPolicy[0]: Field "header" was specified without a FieldValue',
    ],
  ] as const) {
    refused('service-resolver', { Name: 'web', ...entry }, text);
  }
});

test('routers and splitters that Consul refuses', () => {
  const route = (http: object, destination?: object) => ({
    Name: 'web',
    Routes: [{ Match: { HTTP: http }, ...(destination === undefined ? {} : { Destination: destination }) }],
  });
  for (const [entry, text] of [
    [route({ PathExact: 'x' }), `Route[0] PathExact doesn't start with '/': "x"`],
    [
      route({ PathExact: '/x', PathRegex: '.' }),
      'Route[0] should only contain at most one of PathExact, PathPrefix, or PathRegex',
    ],
    [route({ Header: [{ Present: true }] }), 'Route[0] Header[0] missing required Name field'],
    [
      route({ Header: [{ Name: 'x', Present: true, Exact: 'y' }] }),
      'Route[0] Header[0] should only contain one of Present, Exact, Prefix, Suffix, or Regex',
    ],
    [
      route({ QueryParam: [{ Name: 'x' }] }),
      'Route[0] QueryParam[0] should only contain one of Present, Exact, or Regex',
    ],
    [route({ Methods: ['BREW'] }), 'Route[0] Methods contains an invalid method "BREW"'],
    [route({ Methods: ['GET', 'get'] }), 'Route[0] Methods contains "GET" more than once'],
    [
      route({ PathRegex: '.' }, { PrefixRewrite: '/' }),
      'Route[0] cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix',
    ],
    ...['/x\r\ny: z', '/a/../b', '/a?b', '/a b', '/%2f', '/%2Fa', '/a%2fb', '/a%2F..'].map(
      (PrefixRewrite) =>
        [
          route({ PathPrefix: '/' }, { PrefixRewrite }),
          `Route[0] PrefixRewrite is not a canonical path: ${JSON.stringify(PrefixRewrite)}`,
        ] as const,
    ),
    [route({}, { RetryOn: ['always'] }), 'Route[0] contains an invalid retry condition: "always"'],
  ] as const) {
    refused('service-router', entry, text);
  }
  for (const [splits, text] of [
    [[], 'no splits configured'],
    [[{ Weight: 50 }, { Weight: 49.5, Service: 'b' }], 'the sum of all split weights must be 100, not 99.500000'],
    [
      [{ Weight: 50 }, { Weight: 50, Service: 'web' }],
      'split destination occurs more than once: service="web", subset="", namespace="default", partition="default"',
    ],
    [[{ Weight: -1 }, { Weight: 101, Service: 'b' }], /must not be negative/],
  ] as const) {
    refused('service-splitter', { Name: 'web', Splits: splits }, text);
  }
});

test('the entries of which there is one, and JWT providers, that Consul refuses', () => {
  for (const [kind, entry, text] of [
    ['proxy-defaults', { Name: 'x' }, 'invalid name ("x"), only "global" is supported'],
    ['proxy-defaults', { Config: { protocol: 'udp' } }, /^Config: protocol: "udp" is none of/],
    ['proxy-defaults', { AccessLogs: { Type: 'file' } }, 'path must be specified when using file type access logs'],
    ['proxy-defaults', { AccessLogs: { JSONFormat: '{' } }, 'invalid access log json'],
    ['mesh', { Name: 'x' }, 'invalid name ("x"), only "mesh" is supported'],
    [
      'mesh',
      { TLS: { Incoming: { TLSMinVersion: 'TLSv1_3', TLSMaxVersion: 'TLSv1_2' } } },
      'error in incoming TLS configuration: configuring max version TLSv1_2 less than the configured min version TLSv1_3 is invalid',
    ],
    ['mesh', normalizing({ InsecureDisablePathNormalization: true }), /is not offered: intentions judge a path in the/],
    ['mesh', normalizing({ PathWithEscapedSlashesAction: 'ALLOW' }), /PathWithEscapedSlashesAction: /],
    ['mesh', normalizing({ HeadersWithUnderscoresAction: 'KEEP_UNCHANGED' }), /HeadersWithUnderscoresAction: /],
    ['mesh', normalizing({ NormalizePath: true }), /NormalizePath/],
    ['mesh', { TLS: { Outgoing: { CipherSuites: ['ROT13'] } } }, /outgoing TLS configuration: .*ROT13/],
    ['exported-services', { Name: 'x' }, 'invalid name ("x"), only "default" is supported'],
    [
      'exported-services',
      { Name: 'default', Services: [{ Name: 'web' }] },
      'Services[0]: must have at least one consumer',
    ],
    [
      'exported-services',
      { Name: 'default', Services: [{ Name: 'web', Consumers: [{ Peer: '*' }] }] },
      'Services[0].Consumers[0]: exporting to all peers (wildcard) is not supported',
    ],
    ['jwt-provider', { Name: 'p' }, 'JSONWebKeySet is required'],
    ['jwt-provider', { Name: 'p', JSONWebKeySet: {} }, 'must specify exactly one of Local or Remote JSON Web key set'],
    [
      'jwt-provider',
      { Name: 'p', JSONWebKeySet: { Local: { JWKS: '{}' } } },
      'JWKS must be valid base64 encoded string',
    ],
    ['jwt-provider', { Name: 'p', JSONWebKeySet: { Remote: {} } }, 'Remote JWKS URI is required'],
    [
      'jwt-provider',
      { Name: 'p', JSONWebKeySet: { Local: { Filename: 'f' } }, Locations: [{}] },
      'must set exactly one of: JWT location header, query param or cookie',
    ],
  ] as const) {
    refused(kind, entry, text);
  }
});

test('whatever is sent, it is an entry or a refusal', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...entryKinds),
      fc.object({ maxDepth: 3 }),
      fc.constantFrom(...examples),
      (kind, junk, [, sent]) => {
        for (const body of [
          { ...junk, Kind: kind },
          { ...sent, ...junk, Kind: kind },
        ]) {
          try {
            parseConfigEntry(kind, body);
          } catch (error) {
            assert.ok(error instanceof ConsulError, String(error));
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('odd requests: the word of a service over that of the mesh, over the strict one', () => {
  const mesh = (words: object) => parseConfigEntry('mesh', { Kind: 'mesh', ...normalizing(words) });
  const own = (words: object) =>
    parseConfigEntry('service-defaults', { Kind: 'service-defaults', Name: 'db', ...normalizing(words) });
  const slashes = (word: string) => ({ PathWithEscapedSlashesAction: word });
  const underscores = (word: string) => ({ HeadersWithUnderscoresAction: word });
  for (const [mine, everyones, ...expected] of [
    [undefined, undefined, 'REJECT_REQUEST', 'REJECT_REQUEST'],
    [own({}), mesh({}), 'REJECT_REQUEST', 'REJECT_REQUEST'],
    [undefined, mesh({ ...slashes('KEEP_UNCHANGED'), ...underscores('ALLOW') }), 'KEEP_UNCHANGED', 'ALLOW'],
    [own({}), mesh(slashes('UNESCAPE_AND_FORWARD')), 'UNESCAPE_AND_FORWARD', 'REJECT_REQUEST'],
    [own(underscores('DROP_HEADER')), mesh(slashes('KEEP_UNCHANGED')), 'KEEP_UNCHANGED', 'DROP_HEADER'],
    [own(slashes('REJECT_REQUEST')), mesh(slashes('KEEP_UNCHANGED')), 'REJECT_REQUEST', 'REJECT_REQUEST'],
    [
      own(slashes('IMPLEMENTATION_SPECIFIC_DEFAULT')),
      mesh(slashes('KEEP_UNCHANGED')),
      'REJECT_REQUEST',
      'REJECT_REQUEST',
    ],
  ] as const) {
    const { escapedSlashes, underscores } = normalizationSaid(mine, everyones);
    assert.deepEqual([escapedSlashes, underscores], expected);
  }
  assert.throws(() => own({ InsecureDisablePathNormalization: true }), /is not offered/);
  assert.deepEqual(fieldsWithoutEffect(own(slashes('KEEP_UNCHANGED'))), []);
  assert.deepEqual(fieldsWithoutEffect(mesh(slashes('KEEP_UNCHANGED'))), []);
});

test('what the proxies do not act on is named', () => {
  const ignored = (kind: EntryKind): string[] => {
    const sent = examples.find(([one]) => one === kind)?.[1];
    return fieldsWithoutEffect(parseConfigEntry(kind, sent));
  };
  assert.deepEqual(ignored('service-defaults').toSorted(), [
    'MaxInboundConnections',
    'MeshGateway',
    'UpstreamConfig.PassiveHealthCheck.Interval',
    'UpstreamConfig.Protocol',
  ]);
  assert.deepEqual(ignored('proxy-defaults').toSorted(), ['AccessLogs', 'Config.local_idle_timeout_ms']);
  assert.deepEqual(ignored('service-splitter'), []);
  assert.deepEqual(ignored('mesh'), ['TLS']);
  assert.deepEqual(
    fieldsWithoutEffect(
      parseConfigEntry('service-defaults', { Kind: 'service-defaults', Name: 'a', Protocol: 'http' }),
    ),
    [],
  );
});
