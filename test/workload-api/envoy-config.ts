/** A static configuration for a real Envoy which has nothing of its own: certificate and trust come by SDS from a Workload API socket. */

/** What the Envoy is to do. */
export interface EnvoyWorld {
  /** The Workload API socket. */
  readonly socket: string;
  /** Plain HTTP on loopback, sent on by mTLS to `inbound`, an edge proxy, which must be `serverId`. */
  readonly outward: { readonly port: number; readonly inbound: string; readonly serverId: string };
  /** mTLS tunnels (HTTP/2 CONNECT) from edge proxies that are `clientId`, sent on to the application. */
  readonly inward: { readonly port: number; readonly application: number; readonly clientId: string };
  /** How SDS is asked: the state of the world, or what changes. */
  readonly api: 'GRPC' | 'DELTA_GRPC';
  /** False: SPIRE's switch for Envoy's plain check of a chain. */
  readonly spiffeValidator: boolean;
}

/** The bootstrap, ready for JSON.stringify. */
export function envoyConfig({ socket, outward, inward, api, spiffeValidator }: EnvoyWorld): object {
  const [host = '', port = ''] = outward.inbound.split(':');
  return {
    node: { id: 'legacy', cluster: 'legacy', metadata: { disable_spiffe_cert_validation: !spiffeValidator } },
    static_resources: {
      listeners: [
        listener('outward', outward.port, undefined, {
          virtual_hosts: [
            { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'mesh' } }] },
          ],
        }),
        listener('inward', inward.port, downstreamTls(api, inward.clientId), {
          virtual_hosts: [
            {
              name: 'tunnels',
              domains: ['*'],
              routes: [
                {
                  match: { connect_matcher: {} },
                  route: { cluster: 'application', upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }] },
                },
              ],
            },
          ],
        }),
      ],
      clusters: [
        { ...cluster('workload-api', { pipe: { path: socket } }), ...http2 },
        { ...cluster('mesh', address(Number(port), host)), transport_socket: upstreamTls(api, outward.serverId) },
        cluster('application', address(inward.application)),
      ],
    },
  };
}

const http2 = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

function address(port: number, host = '127.0.0.1'): object {
  return { socket_address: { address: host, port_value: port } };
}

function cluster(name: string, at: object): object {
  const endpoint = { lb_endpoints: [{ endpoint: { address: at } }] };
  return { name, connect_timeout: '5s', load_assignment: { cluster_name: name, endpoints: [endpoint] } };
}

function listener(name: string, port: number, transportSocket: object | undefined, routes: object): object {
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: name,
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    route_config: { name, ...routes },
  };
  return {
    name,
    address: address(port),
    filter_chains: [
      {
        ...(transportSocket === undefined ? {} : { transport_socket: transportSocket }),
        filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }],
      },
    ],
  };
}

/** Certificate and trust by SDS; of the peers that the trust vouches for, only this one. */
function commonTls(api: EnvoyWorld['api'], peerId: string): object {
  const source = {
    resource_api_version: 'V3',
    api_config_source: {
      api_type: api,
      transport_api_version: 'V3',
      grpc_services: [{ envoy_grpc: { cluster_name: 'workload-api' } }],
    },
  };
  return {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    alpn_protocols: [],
    tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: source }],
    combined_validation_context: {
      default_validation_context: {
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: peerId } }],
      },
      validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: source },
    },
  };
}

function upstreamTls(api: EnvoyWorld['api'], serverId: string): object {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
      common_tls_context: commonTls(api, serverId),
    },
  };
}

function downstreamTls(api: EnvoyWorld['api'], clientId: string): object {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      require_client_certificate: true,
      common_tls_context: { ...commonTls(api, clientId), alpn_protocols: ['h2'] },
    },
  };
}
