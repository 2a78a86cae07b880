import type { ServiceDefaults } from '#policies/config-entries/service-defaults.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { ServiceInstance } from '../state/services.ts';
import type { Topic } from '../state/topics.ts';
import { parseFlag } from './query-options.ts';

/** `?merge-central-config`: a proxy is shown with what proxy-defaults and service-defaults say where its registration says nothing. */

type Fields = Readonly<Record<string, unknown>>;
type Show = (instance: ServiceInstance) => ServiceInstance;

/** What a read is to depend on besides, and how its instances are shown. */
export function centralConfig(
  state: CatalogState,
  query: URLSearchParams,
): { readonly topics: readonly Topic[]; readonly show: Show } {
  if (!parseFlag(query, 'merge-central-config')) return { topics: [], show: (instance) => instance };
  return { topics: ['kind/proxy-defaults', 'kind/service-defaults'], show: (instance) => merged(state, instance) };
}

/** As Consul's MergeNodeServiceWithCentralConfig, but for upstreams that only config entries name, which it adds for transparent proxies. */
function merged(state: CatalogState, instance: ServiceInstance): ServiceInstance {
  const { record } = instance;
  if (record.Kind !== 'connect-proxy') return instance;
  const { Proxy: own } = record;
  const all = state.config.get('proxy-defaults', 'global')?.record;
  const of = state.config.get('service-defaults', own.DestinationServiceName ?? '')?.record;
  const said = (field: 'Mode' | 'MutualTLSMode') => own[field] || of?.[field] || all?.[field];
  const fields = (field: 'TransparentProxy' | 'MeshGateway' | 'Expose') =>
    filled(own[field], filled(of?.[field], all?.[field] ?? {}));
  const extensions = [...(all?.EnvoyExtensions ?? []), ...(of?.EnvoyExtensions ?? [])];
  const gateway = fields('MeshGateway');
  const upstreams = Array.isArray(own['Upstreams'])
    ? { Upstreams: own['Upstreams'].map((upstream: Fields) => withSettings(state, upstream, of, gateway)) }
    : {};
  const shown = {
    ...own,
    Config: filled(own['Config'], { ...all?.Config, ...settingsOfProxy(of) }),
    Mode: said('Mode') ?? '',
    MeshGateway: gateway,
    Expose: fields('Expose'),
    ...unlessEmpty('TransparentProxy', fields('TransparentProxy')),
    ...unlessEmpty('AccessLogs', filled(own['AccessLogs'], all?.AccessLogs ?? {})),
    ...(said('MutualTLSMode') === undefined ? {} : { MutualTLSMode: said('MutualTLSMode') }),
    ...(extensions.length === 0
      ? {}
      : { EnvoyExtensions: extensions.map(({ Name, Required, Arguments }) => ({ Name, Required, Arguments })) }),
    ...upstreams,
  };
  return { ...instance, record: { ...record, Proxy: shown } };
}

/** Fields of service-defaults that Consul puts into the proxy's opaque configuration. */
function settingsOfProxy(of: ServiceDefaults | undefined): Fields {
  return filled(undefined, {
    protocol: of?.Protocol,
    balance_inbound_connections: of?.BalanceInboundConnections,
    max_inbound_connections: of?.MaxInboundConnections,
    local_connect_timeout_ms: of?.LocalConnectTimeoutMs,
    local_request_timeout_ms: of?.LocalRequestTimeoutMs,
  });
}

type Settings = NonNullable<NonNullable<ServiceDefaults['UpstreamConfig']>['Defaults']>;

/** An upstream of a registration with what the caller's service-defaults say of it, and the protocol of who is called. */
function withSettings(
  state: CatalogState,
  upstream: Fields,
  caller: ServiceDefaults | undefined,
  gateway: Fields,
): Fields {
  const { DestinationName: name, DestinationType: type } = upstream;
  if (typeof name !== 'string' || (type !== undefined && type !== '' && type !== 'service')) return upstream;
  const { Defaults, Overrides = [] } = caller?.UpstreamConfig ?? {};
  const override = Overrides.find(({ Name, Peer }) => Name === name && Peer === undefined);
  const all = state.config.get('proxy-defaults', 'global')?.record.Config?.['protocol'];
  const called = state.config.get('service-defaults', name)?.record.Protocol;
  const central = {
    ...filled(undefined, { protocol: called || all }),
    ...settingsOfUpstream(Defaults),
    ...settingsOfUpstream(override),
  };
  return {
    ...upstream,
    Config: filled(upstream['Config'], central),
    MeshGateway: filled(upstream['MeshGateway'], filled(override?.MeshGateway, filled(Defaults?.MeshGateway, gateway))),
  };
}

/** In the words of Consul's UpstreamConfig.MergeInto. */
function settingsOfUpstream(of: Settings | undefined): Fields {
  return filled(undefined, {
    envoy_listener_json: of?.EnvoyListenerJSON,
    envoy_cluster_json: of?.EnvoyClusterJSON,
    protocol: of?.Protocol,
    connect_timeout_ms: of?.ConnectTimeoutMs,
    limits: of?.Limits,
    passive_health_check: of?.PassiveHealthCheck,
    balance_outbound_connections: of?.BalanceOutboundConnections,
  });
}

/** Fields, and those of `defaults` where they say nothing. */
function filled(fields: unknown, defaults: Fields): Fields {
  const own = typeof fields === 'object' && fields !== null ? Object.entries(fields) : [];
  return Object.fromEntries([...Object.entries(defaults), ...own].filter(([, value]) => saysSomething(value)));
}

function saysSomething(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '' && value !== 0 && value !== false;
}

function unlessEmpty(name: string, fields: Fields): Fields {
  return Object.keys(fields).length === 0 ? {} : { [name]: fields };
}
