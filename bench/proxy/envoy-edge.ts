/** A piece of Envoy's configuration, in its own words. */
export type Json = { readonly [key: string]: Value };
type Value = string | number | boolean | Json | readonly Value[];

const bufferLimit = { per_connection_buffer_limit_bytes: 32_768 };
const window = { initial_stream_window_size: 65_536, initial_connection_window_size: 1_048_576 };

/**
 * What Envoy's page "Configuring Envoy as an edge proxy" asks for, piece by piece; and one request of a connection in each turn, as its notes on CVE-2023-44487 say
 * for where clients are abusive.
 */
export const atEdge: Readonly<Record<'listener' | 'manager' | 'route' | 'cluster' | 'bootstrap', Json>> = {
  listener: bufferLimit,
  manager: {
    use_remote_address: true,
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT',
    common_http_protocol_options: { idle_timeout: '3600s', headers_with_underscores_action: 'REJECT_REQUEST' },
    http2_protocol_options: { max_concurrent_streams: 100, ...window },
    stream_idle_timeout: '300s',
    request_timeout: '300s',
  },
  route: { timeout: '15s', idle_timeout: '15s' },
  cluster: bufferLimit,
  bootstrap: {
    overload_manager: {
      refresh_interval: '0.25s',
      resource_monitors: [
        monitor('fixed_heap.v3.FixedHeapConfig', { max_heap_size_bytes: 2_147_483_648 }),
        monitor('downstream_connections.v3.DownstreamConnectionsConfig', { max_active_downstream_connections: 50_000 }),
      ],
      actions: [action('shrink_heap', 0.95), action('stop_accepting_requests', 0.98)],
    },
    layered_runtime: {
      layers: [
        {
          name: 'edge',
          static_layer: {
            'envoy.resource_limits.listener.in.connection_limit': 10_000,
            'http.max_requests_per_io_cycle': 1,
          },
        },
      ],
    },
  },
};

function monitor(type: string, settings: Json): Json {
  const [kind = ''] = type.split('.');
  const name = kind === 'downstream_connections' ? 'global_downstream_max_connections' : kind;
  return {
    name: `envoy.resource_monitors.${name}`,
    typed_config: { '@type': `type.googleapis.com/envoy.extensions.resource_monitors.${type}`, ...settings },
  };
}

function action(name: string, threshold: number): Json {
  const triggers = [{ name: 'envoy.resource_monitors.fixed_heap', threshold: { value: threshold } }];
  return { name: `envoy.overload_actions.${name}`, triggers };
}
