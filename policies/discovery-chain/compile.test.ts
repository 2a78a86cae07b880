import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type EntryKind, type KeptEntry, parseConfigEntry } from '../config-entries/config-entry.ts';
import { ConsulError } from '../consul/consul-error.ts';
import { ChainFlaw } from './chain-flaw.ts';
import { type ChainEntries, type ChainRequest, compileChain } from './compile.ts';

type Body = { readonly Kind: EntryKind; readonly Name?: string; readonly [field: string]: unknown };

function entriesOf(...bodies: readonly Body[]): ChainEntries {
  const entries: KeptEntry[] = bodies.map((body) => parseConfigEntry(body.Kind, body));
  const find = <Kind extends EntryKind>(kind: Kind, name: string) =>
    entries.find((entry): entry is Extract<KeptEntry, { Kind: Kind }> => entry.Kind === kind && entry.Name === name);
  return {
    router: (service) => find('service-router', service),
    splitter: (service) => find('service-splitter', service),
    resolver: (service) => find('service-resolver', service),
    defaults: (service) => find('service-defaults', service),
    proxyDefaults: () => find('proxy-defaults', 'global'),
  };
}

const compile = (bodies: readonly Body[], request: Partial<ChainRequest> = {}) =>
  compileChain({ service: 'web', datacenter: 'dc1', trustDomain: 'mesh.test', ...request }, entriesOf(...bodies));

const http = (...names: readonly string[]): Body[] =>
  names.map((Name) => ({ Kind: 'service-defaults', Name, Protocol: 'http' }));
const id = (service: string, dc = 'dc1'): string => `${service}.default.default.${dc}`;
const refused = (bodies: readonly Body[], text: RegExp): void =>
  assert.throws(
    () => compile(bodies),
    (error) => error instanceof ChainFlaw && text.test(error.message),
  );

test('without entries: one default resolver, as Consul shows it', () => {
  assert.deepEqual(compile([]), {
    ServiceName: 'web',
    Namespace: 'default',
    Partition: 'default',
    Datacenter: 'dc1',
    Default: true,
    Protocol: 'tcp',
    StartNode: 'resolver:web.default.default.dc1',
    Nodes: {
      'resolver:web.default.default.dc1': {
        Type: 'resolver',
        Name: 'web.default.default.dc1',
        Resolver: { Default: true, ConnectTimeout: '5s', Target: 'web.default.default.dc1' },
      },
    },
    Targets: {
      'web.default.default.dc1': {
        ID: 'web.default.default.dc1',
        Service: 'web',
        Namespace: 'default',
        Partition: 'default',
        Datacenter: 'dc1',
        MeshGateway: {},
        Subset: {},
        TransparentProxy: {},
        ConnectTimeout: '5s',
        SNI: 'web.default.dc1.internal.mesh.test',
        Name: 'web.default.dc1.internal.mesh.test',
      },
    },
  });
});

test('a resolver: subsets, the default one, failover by subset, timeouts', () => {
  const chain = compile([
    {
      Kind: 'service-resolver',
      Name: 'web',
      DefaultSubset: 'v2',
      Subsets: { v1: {}, v2: { Filter: 'Service.Meta.version == v2', OnlyPassing: true } },
      Failover: { v2: { ServiceSubset: 'v1' }, '*': { Service: 'never' } },
      ConnectTimeout: '7s',
      RequestTimeout: '1s',
    },
  ]);
  const v1 = 'v1.web.default.default.dc1';
  const v2 = 'v2.web.default.default.dc1';
  assert.equal(chain.Default, undefined);
  assert.deepEqual(chain.Nodes, {
    [`resolver:${v2}`]: {
      Type: 'resolver',
      Name: v2,
      Resolver: { ConnectTimeout: '7s', RequestTimeout: 1e9, Target: v2, Failover: { Targets: [v1] } },
    },
  });
  assert.deepEqual(Object.keys(chain.Targets).toSorted(), [v1, v2]);
  assert.deepEqual(chain.Targets[v2]?.Subset, { Filter: 'Service.Meta.version == v2', OnlyPassing: true });
  assert.equal(chain.Targets[v2]?.SNI, 'v2.web.default.dc1.internal.mesh.test');
});

test('redirects are followed to the end, and what they end at is not the default chain of who asked', () => {
  const chain = compile([
    { Kind: 'service-resolver', Name: 'web', Redirect: { Service: 'b' } },
    { Kind: 'service-resolver', Name: 'b', Redirect: { Service: 'c', Datacenter: 'dc2' } },
  ]);
  assert.equal(chain.StartNode, `resolver:${id('c', 'dc2')}`);
  assert.deepEqual(Object.keys(chain.Targets), [id('c', 'dc2')]);
  assert.equal(chain.Default, undefined);
  refused(
    [
      { Kind: 'service-resolver', Name: 'web', Redirect: { Service: 'b' } },
      { Kind: 'service-resolver', Name: 'b', Redirect: { Service: 'web' } },
    ],
    /^detected circular resolver redirect: \[web\.default\.default\.dc1 -> b\.default\.default\.dc1 -> web\.default\.default\.dc1\]$/,
  );
});

test('failover to datacenters, to targets and to a peer; never to itself', () => {
  const failover = (Failover: object, more: readonly Body[] = []) => {
    const chain = compile([{ Kind: 'service-resolver', Name: 'web', Failover: { '*': Failover } }, ...more]);
    const node = chain.Nodes[chain.StartNode];
    assert.ok(node?.Type === 'resolver');
    assert.deepEqual(
      Object.keys(chain.Targets).toSorted(),
      [id('web'), ...(node.Resolver.Failover?.Targets ?? [])].toSorted(),
    );
    return node.Resolver.Failover;
  };
  assert.deepEqual(failover({ Datacenters: ['dc1', 'dc2', 'dc3'] }), { Targets: [id('web', 'dc2'), id('web', 'dc3')] });
  assert.equal(failover({ Datacenters: ['dc1'] }), undefined);
  assert.deepEqual(failover({ Targets: [{ Service: 'b' }, { Peer: 'east' }] }), {
    Targets: [id('b'), 'web.default.default.external.east'],
  });
  const redirect: Body = { Kind: 'service-resolver', Name: 'b', Redirect: { Service: 'c' } };
  assert.deepEqual(failover({ Service: 'b' }, [redirect]), { Targets: [id('c')] });
  const policy: Body = { Kind: 'proxy-defaults', FailoverPolicy: { Mode: 'default' } };
  assert.deepEqual(failover({ Service: 'b' }, [policy]), { Targets: [id('b')], Policy: { Mode: 'default' } });
});

test('a router: its routes in order, the rest to the service itself', () => {
  const chain = compile([
    ...http('web', 'admin'),
    { Kind: 'service-resolver', Name: 'web', Subsets: { v2: {} } },
    {
      Kind: 'service-router',
      Name: 'web',
      Routes: [
        { Match: { HTTP: { PathPrefix: '/admin' } }, Destination: { Service: 'admin' } },
        { Match: { HTTP: { PathExact: '/new' } }, Destination: { ServiceSubset: 'v2' } },
      ],
    },
  ]);
  assert.equal(chain.StartNode, 'router:web.default.default');
  const router = chain.Nodes[chain.StartNode];
  assert.ok(router?.Type === 'router');
  assert.deepEqual(
    router.Routes.map(({ NextNode }) => NextNode),
    [`resolver:${id('admin')}`, 'resolver:v2.web.default.default.dc1', `resolver:${id('web')}`],
  );
  assert.deepEqual(router.Routes.at(-1)?.Definition, {
    Match: { HTTP: { PathPrefix: '/' } },
    Destination: { Service: 'web', Namespace: 'default', Partition: 'default' },
  });
  assert.equal(chain.Protocol, 'http');
});

test('splitters that lead to splitters are one; hash policies and headers come along', () => {
  const chain = compile([
    ...http('web', 'b', 'c'),
    {
      Kind: 'service-splitter',
      Name: 'web',
      Splits: [{ Weight: 50 }, { Weight: 50, Service: 'b', RequestHeaders: { Set: { x: 'outer', y: 'outer' } } }],
    },
    {
      Kind: 'service-splitter',
      Name: 'b',
      Splits: [
        { Weight: 25, RequestHeaders: { Set: { x: 'inner' } } },
        { Weight: 75, Service: 'c' },
      ],
    },
    { Kind: 'service-resolver', Name: 'web', LoadBalancer: { Policy: 'maglev' } },
  ]);
  assert.deepEqual(Object.keys(chain.Nodes).toSorted(), [
    `resolver:${id('b')}`,
    `resolver:${id('c')}`,
    `resolver:${id('web')}`,
    'splitter:web.default.default',
  ]);
  const splitter = chain.Nodes['splitter:web.default.default'];
  assert.ok(splitter?.Type === 'splitter');
  assert.deepEqual(
    splitter.Splits.map(({ Weight, NextNode }) => [Weight, NextNode]),
    [
      [50, `resolver:${id('web')}`],
      [12.5, `resolver:${id('b')}`],
      [37.5, `resolver:${id('c')}`],
    ],
  );
  assert.deepEqual(splitter.Splits[1]?.Definition.RequestHeaders, { Set: { x: 'inner', y: 'outer' } });
  assert.deepEqual(splitter.LoadBalancer, { Policy: 'maglev' });
});

test('what does not go together is refused in Consul words', () => {
  const split = (Name: string, Service: string): Body => ({
    Kind: 'service-splitter',
    Name,
    Splits: [{ Weight: 50 }, { Weight: 50, Service }],
  });
  refused([split('web', 'b')], /"web" uses a protocol "tcp" that does not permit advanced routing or splitting/);
  refused(
    [...http('web'), split('web', 'b')],
    /uses inconsistent protocols; service "b" has "tcp" which is not "http"/,
  );
  refused([...http('web', 'b'), split('web', 'b'), split('b', 'web')], /^detected circular reference: \[splitter:web/);
  refused(
    [...http('web'), { Kind: 'service-splitter', Name: 'web', Splits: [{ Weight: 100, ServiceSubset: 'v3' }] }],
    /^service "web" does not have a subset named "v3"$/,
  );
  refused(
    [
      { Kind: 'service-defaults', Name: 'web', ExternalSNI: 'a.b' },
      { Kind: 'service-resolver', Name: 'web', Subsets: { v1: {} } },
    ],
    /has an external SNI set; cannot define subsets for external services/,
  );
});

test('overrides: another protocol, another timeout, another gateway, each marked', () => {
  const splitter: Body = { Kind: 'service-splitter', Name: 'web', Splits: [{ Weight: 100, Service: 'b' }] };
  const plain = compile([...http('web', 'b'), splitter], { overrideProtocol: 'tcp' });
  assert.equal(plain.StartNode, `resolver:${id('web')}`);
  assert.equal(plain.Protocol, 'tcp');
  assert.match(plain.CustomizationHash ?? '', /^[0-9a-f]{8}$/);
  const slow = compile([], { overrideConnectTimeoutNs: 9e9 });
  assert.equal(slow.Targets[id('web')]?.ConnectTimeout, '9s');
  assert.notEqual(slow.CustomizationHash, plain.CustomizationHash);
  assert.equal(compile([], { overrideConnectTimeoutNs: 5e9 }).CustomizationHash, undefined, 'nothing is changed by it');
  assert.deepEqual(compile([], { overrideMeshGateway: 'local' }).Targets[id('web')]?.MeshGateway, { Mode: 'local' });
});

test('whatever the entries: a chain whose every key leads somewhere, weights of 100, or a refusal', () => {
  const name = fc.constantFrom('web', 'b', 'c');
  const subset = fc.constantFrom('v1', 'v2');
  const entry: fc.Arbitrary<Body> = fc.oneof(
    fc.record({
      Kind: fc.constant('service-defaults' as const),
      Name: name,
      Protocol: fc.constantFrom('http', 'http', 'tcp'),
    }),
    fc.record({
      Kind: fc.constant('service-resolver' as const),
      Name: name,
      Subsets: fc.constant({ v1: {} }),
      Redirect: fc.option(fc.record({ Service: name }), { nil: undefined }),
    }),
    fc.record({
      Kind: fc.constant('service-resolver' as const),
      Name: name,
      Failover: fc.constant({ '*': { Service: 'c', Datacenters: ['dc2', 'dc1'] } }),
    }),
    fc.record({
      Kind: fc.constant('service-splitter' as const),
      Name: name,
      Splits: fc.tuple(name, name).map(([a, b]) => [
        { Weight: 33.33, Service: a },
        { Weight: 66.67, Service: b },
      ]),
    }),
    fc.record({
      Kind: fc.constant('service-router' as const),
      Name: name,
      Routes: fc.array(fc.record({ Destination: fc.record({ Service: name }, { requiredKeys: [] }) }), {
        maxLength: 3,
      }),
    }),
    fc.record({
      Kind: fc.constant('service-router' as const),
      Name: name,
      Routes: subset.map((one) => [{ Destination: { ServiceSubset: one } }]),
    }),
  );
  let compiled = 0;
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 6 }), (bodies) => {
      let chain: ReturnType<typeof compile>;
      try {
        chain = compile([{ Kind: 'proxy-defaults', Config: { protocol: 'http' } }, ...bodies]);
      } catch (error) {
        assert.ok(error instanceof ChainFlaw || error instanceof ConsulError, String(error));
        return;
      }
      compiled += 1;
      const next = Object.values(chain.Nodes).flatMap((node) => {
        if (node.Type === 'router') return node.Routes.map(({ NextNode }) => NextNode);
        if (node.Type === 'splitter') return node.Splits.map(({ NextNode }) => NextNode);
        return [];
      });
      assert.deepEqual([...new Set([chain.StartNode, ...next])].toSorted(), Object.keys(chain.Nodes).toSorted());
      const targets = Object.values(chain.Nodes).flatMap((node) =>
        node.Type === 'resolver' ? [node.Resolver.Target, ...(node.Resolver.Failover?.Targets ?? [])] : [],
      );
      assert.deepEqual([...new Set(targets)].toSorted(), Object.keys(chain.Targets).toSorted());
      for (const node of Object.values(chain.Nodes)) {
        if (node.Type !== 'splitter') continue;
        const sum = node.Splits.reduce((total, { Weight = 0 }) => total + Weight, 0);
        assert.ok(Math.abs(sum - 100) < 0.1, `${sum}`);
        assert.ok(
          node.Splits.every(({ NextNode }) => NextNode.startsWith('resolver:')),
          'one choice',
        );
      }
    }),
    { numRuns: 400 },
  );
  assert.ok(compiled > 50, `only ${compiled} chains compiled`);
});
