import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { atEdge, type Json } from './envoy-edge.ts';
import type { ClientSide, Launch, Peer, ServerSide } from './hop.ts';
import { benchRequests, isHttp2 } from './hop.ts';

/** What the shape of a configuration depends on. */
type Kind = Pick<ClientSide, 'mode' | 'edge'>;

/** Envoy, one worker thread (--concurrency 1). */
export function envoy(binary: string): Peer {
  return {
    name: 'envoy',
    note:
      'concurrency 1; client identity by RBAC on the URI SAN (but in TCP mode with method and path), server identity by ' +
      'match_typed_subject_alt_names on the URI SAN; between the proxies the version of HTTP that is asked in; TLS sessions resumed',
    clientSide: (options) => launch(binary, options.directory, clientConfiguration(options)),
    serverSide: (options) => launch(binary, options.directory, serverConfiguration(options)),
  };
}

function launch(binary: string, directory: string, configuration: Json): Launch {
  const file = join(directory, 'envoy.json');
  writeFileSync(file, JSON.stringify(configuration, null, 1));
  return { file: binary, args: ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'error'] };
}

const extensions = 'type.googleapis.com/envoy.extensions';

function clientConfiguration(o: ClientSide): Json {
  // A TLS 1.3 ticket is used once: with the default of one kept, most concurrent connections could not resume.
  const tls = { ...commonTls(o, { uri: o.expected.spiffeId }), sni: o.expected.dnsName, max_session_keys: 64 };
  return bootstrap(
    o,
    { port: o.listenPort, filters: proxyFilters(o, 'outbound', []) },
    cluster(o, o.serverPort, typed('tls', 'transport_sockets.tls.v3.UpstreamTlsContext', tls)),
  );
}

function serverConfiguration(o: ServerSide): Json {
  const principals = [{ authenticated: { principal_name: { exact: o.allowed.spiffeId } } }];
  const { method, path } = benchRequests[o.mode];
  const permission: Json =
    o.mode === 'tcp'
      ? { any: true }
      : {
          and_rules: {
            rules: [
              { header: { name: ':method', string_match: { exact: method } } },
              { url_path: { path: { prefix: path } } },
            ],
          },
        };
  const rules: Json = { rules: { action: 'ALLOW', policies: { web: { permissions: [permission], principals } } } };
  const layer = o.mode === 'tcp' ? 'network' : 'http';
  const rbac = typed(`envoy.filters.${layer}.rbac`, `filters.${layer}.rbac.v3.RBAC`, {
    ...rules,
    ...(o.mode === 'tcp' ? { stat_prefix: 'rbac' } : {}),
  });
  const tls = { ...commonTls(o, {}), require_client_certificate: true };
  return bootstrap(
    o,
    {
      port: o.listenPort,
      filters: proxyFilters(o, 'inbound', [rbac]),
      transport_socket: typed('tls', 'transport_sockets.tls.v3.DownstreamTlsContext', tls),
    },
    cluster(o, o.applicationPort),
  );
}

function commonTls(o: ClientSide | ServerSide, expected: { uri?: string }): Json {
  const names: Json =
    expected.uri === undefined
      ? {}
      : { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: expected.uri } }] };
  return {
    common_tls_context: {
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
      tls_certificates: [
        { certificate_chain: { filename: o.own.certificateFile }, private_key: { filename: o.own.keyFile } },
      ],
      ...alpn(o),
      validation_context: { trusted_ca: { filename: o.caFile }, ...names },
    },
  };
}

/** Whoever serves at an edge offers both. */
function alpn(o: ClientSide | ServerSide): Json {
  if (isHttp2(o.mode)) return { alpn_protocols: ['h2'] };
  return o.edge && 'allowed' in o ? { alpn_protocols: ['h2', 'http/1.1'] } : {};
}

/** The network filters of a listener: TCP splices, HTTP parses; `guards` stand before the forwarding one. */
function proxyFilters({ mode, edge }: Kind, name: string, guards: readonly Json[]): readonly Json[] {
  if (mode === 'tcp') {
    const forward = { stat_prefix: name, cluster: 'next' };
    return [...guards, typed('envoy.filters.network.tcp_proxy', 'filters.network.tcp_proxy.v3.TcpProxy', forward)];
  }
  const routes = [{ match: { prefix: '/' }, route: { cluster: 'next', ...(edge ? atEdge.route : {}) } }];
  const manager: Json = {
    stat_prefix: name,
    codec_type: edge ? 'AUTO' : isHttp2(mode) ? 'HTTP2' : 'HTTP1',
    ...(edge ? atEdge.manager : {}),
    route_config: { name, virtual_hosts: [{ name, domains: ['*'], routes }] },
    http_filters: [...guards, typed('envoy.filters.http.router', 'filters.http.router.v3.Router', {})],
  };
  return [
    typed(
      'envoy.filters.network.http_connection_manager',
      'filters.network.http_connection_manager.v3.HttpConnectionManager',
      manager,
    ),
  ];
}

function bootstrap(
  { edge }: Kind,
  { port, ...chain }: { port: number; filters: readonly Json[]; transport_socket?: Json },
  next: Json,
): Json {
  const listener = { name: 'in', address: loopback(port), filter_chains: [chain], ...(edge ? atEdge.listener : {}) };
  return {
    ...(edge ? atEdge.bootstrap : {}),
    static_resources: {
      listeners: [listener],
      clusters: [next],
    },
  };
}

/** An upstream is spoken to in HTTP/1.1 unless it says this. */
const inHttp2: Json = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

function cluster({ mode, edge }: Kind, port: number, transportSocket?: Json): Json {
  return {
    name: 'next',
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: {
      cluster_name: 'next',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: loopback(port) } }] }],
    },
    ...(edge ? atEdge.cluster : {}),
    ...(isHttp2(mode) ? inHttp2 : {}),
    ...(transportSocket === undefined ? {} : { transport_socket: transportSocket }),
  };
}

const loopback = (port: number): Json => ({ socket_address: { address: '127.0.0.1', port_value: port } });

const typed = (name: string, type: string, settings: Json): Json => ({
  name,
  typed_config: { '@type': `${extensions}.${type}`, ...settings },
});
