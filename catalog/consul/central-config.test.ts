import assert from 'node:assert/strict';
import { test } from 'node:test';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

test('?merge-central-config: what entries say where a registration says nothing, on every read of proxies; and it changes with them', async (t) => {
  const catalog = await startTestCatalog(t);
  const put = async (path: string, body: object) => {
    const answer = await send(catalog, 'PUT', path, { body });
    assert.equal(answer.status, 200, answer.text);
  };
  const entry = (Kind: string, Name: string, more: object) => put('/v1/config', { Kind, Name, ...more });
  await put('/v1/catalog/register', {
    Node: 'n1',
    Address: '10.0.0.1',
    Service: {
      Kind: 'connect-proxy',
      Service: 'web-proxy',
      Port: 21_000,
      Proxy: {
        DestinationServiceName: 'web',
        Config: { local_connect_timeout_ms: 7, protocol: '' },
        Upstreams: [
          { DestinationName: 'db', LocalBindPort: 5_000, Config: { connect_timeout_ms: 3 } },
          { DestinationType: 'prepared_query', DestinationName: 'db' },
        ],
      },
    },
  });
  await entry('proxy-defaults', 'global', {
    Config: { protocol: 'http', local_connect_timeout_ms: 1 },
    MeshGateway: { Mode: 'remote' },
    EnvoyExtensions: [{ Name: 'builtin/lua' }],
  });
  await entry('service-defaults', 'db', { Protocol: 'grpc' });
  await entry('service-defaults', 'web', {
    Protocol: 'http',
    MaxInboundConnections: 9,
    MutualTLSMode: 'strict',
    MeshGateway: { Mode: 'local' },
    UpstreamConfig: {
      Defaults: { ConnectTimeoutMs: 500, Limits: { MaxConnections: 4 } },
      Overrides: [{ Name: 'db', Limits: { MaxConnections: 5 } }],
    },
  });
  const merged = {
    DestinationServiceName: 'web',
    Mode: '',
    MeshGateway: { Mode: 'local' },
    Expose: {},
    MutualTLSMode: 'strict',
    Config: { protocol: 'http', max_inbound_connections: 9, local_connect_timeout_ms: 7 },
    EnvoyExtensions: [{ Name: 'builtin/lua', Required: false, Arguments: null }],
    Upstreams: [
      {
        DestinationName: 'db',
        LocalBindPort: 5_000,
        Config: { protocol: 'grpc', connect_timeout_ms: 3, limits: { MaxConnections: 5 } },
        MeshGateway: { Mode: 'local' },
      },
      { DestinationType: 'prepared_query', DestinationName: 'db' },
    ],
  };
  type Shown = { ServiceProxy?: unknown; Service?: { Proxy: unknown } };
  const listed = (json: unknown) => {
    const [first] = json as Shown[];
    return first?.ServiceProxy ?? first?.Service?.Proxy;
  };
  const onNode = (json: unknown) => (json as { Services: { Proxy: unknown }[] }).Services[0]?.Proxy;
  for (const [path, proxyOf] of [
    ['/v1/catalog/service/web-proxy', listed],
    ['/v1/catalog/connect/web', listed],
    ['/v1/catalog/node-services/n1', onNode],
    ['/v1/health/service/web-proxy', listed],
    ['/v1/health/connect/web', listed],
  ] as const) {
    assert.deepEqual(proxyOf((await send(catalog, 'GET', `${path}?merge-central-config`)).json), merged, path);
    const plain = proxyOf((await send(catalog, 'GET', path)).json) as { Config: unknown };
    assert.deepEqual(plain.Config, { local_connect_timeout_ms: 7, protocol: '' }, path);
  }
  assert.equal((await send(catalog, 'GET', '/v1/catalog/service/web-proxy?merge-central-config=maybe')).status, 400);
  const before = await send(catalog, 'GET', '/v1/health/connect/web?merge-central-config');
  const index = before.headers.get('x-consul-index');
  const waiting = send(catalog, 'GET', `/v1/health/connect/web?merge-central-config&wait=10s&index=${index}`);
  await entry('proxy-defaults', 'global', { Config: { protocol: 'http', later: 1 } });
  assert.equal((listed((await waiting).json) as { Config: { later: number } }).Config.later, 1);
});
