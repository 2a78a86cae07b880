import type { LoadBalancer } from '../config-entries/load-balancer.ts';
import type { ServiceRoute } from '../config-entries/service-router.ts';
import type { ServiceSplit } from '../config-entries/service-splitter.ts';

/**
 * A discovery chain: where calls to a service go, compiled from the config entries of all services on the way. A graph of at most one router, then
 * splitters, then resolvers, each of which names a target and what it fails over to. In Consul's names, for that is what its clients read.
 */
export interface CompiledChain {
  readonly ServiceName: string;
  readonly Namespace: 'default';
  readonly Partition: 'default';
  readonly Datacenter: string;
  /** Tells chains that were asked for with overrides apart. */
  readonly CustomizationHash?: string;
  /** No entry routes, splits or redirects. */
  readonly Default?: true;
  /** Of every service on the way. */
  readonly Protocol: string;
  readonly ServiceMeta?: Readonly<Record<string, string>>;
  readonly EnvoyExtensions?: readonly unknown[];
  /** A key of Nodes. */
  readonly StartNode: string;
  readonly Nodes: Readonly<Record<string, ChainNode>>;
  readonly Targets: Readonly<Record<string, ChainTarget>>;
}

export type ChainNode = RouterNode | SplitterNode | ResolverNode;

export interface RouterNode {
  readonly Type: 'router';
  readonly Name: string;
  /** The first that matches decides; the last matches all. */
  readonly Routes: readonly { readonly Definition: object; readonly NextNode: string }[];
}

export interface SplitterNode {
  readonly Type: 'splitter';
  readonly Name: string;
  Splits: readonly { readonly Definition: ServiceSplit; readonly Weight?: number; readonly NextNode: string }[];
  LoadBalancer?: LoadBalancer;
}

export interface ResolverNode {
  readonly Type: 'resolver';
  readonly Name: string;
  readonly Resolver: {
    /** Its service has no resolver of its own. */
    readonly Default?: true;
    readonly ConnectTimeout: string;
    /** Nanoseconds: Consul gives this one back without an encoder. */
    readonly RequestTimeout?: number;
    /** A key of Targets. */
    readonly Target: string;
    Failover?: { readonly Targets: readonly string[]; readonly Policy?: object };
  };
  readonly LoadBalancer?: LoadBalancer;
}

/** Which instances answer. */
export interface ChainTarget {
  readonly ID: string;
  readonly Service: string;
  readonly ServiceSubset?: string;
  readonly Namespace: 'default';
  readonly Partition: 'default';
  readonly Datacenter?: string;
  readonly Peer?: string;
  MeshGateway: { readonly Mode?: string };
  Subset: { readonly Filter?: string | undefined; readonly OnlyPassing?: true | undefined };
  TransparentProxy: { readonly DialedDirectly?: true };
  ConnectTimeout?: string;
  /** Outside of this mesh. */
  External?: true;
  SNI?: string;
  readonly Name?: string;
}

/** What a target is of. */
export interface TargetChoice {
  readonly Service: string;
  readonly ServiceSubset?: string | undefined;
  readonly Datacenter?: string | undefined;
  readonly Peer?: string | undefined;
}

/** The route behind all others: whatever is left goes to the service itself. */
export function catchAllRoute(service: string): ServiceRoute & object {
  return {
    Match: { HTTP: { PathPrefix: '/' } },
    Destination: { Service: service, Namespace: 'default', Partition: 'default' } as object,
  };
}

/** A target of which nothing is said yet but what it is of (Consul: NewDiscoveryTarget, TargetSNI). */
export function targetOf(choice: TargetChoice, datacenter: string, trustDomain: string): ChainTarget {
  const { Service, ServiceSubset, Peer } = choice;
  const dc = choice.Datacenter ?? datacenter;
  const common = {
    Service,
    ...(ServiceSubset === undefined ? {} : { ServiceSubset }),
    Namespace: 'default',
    Partition: 'default',
    MeshGateway: {},
    Subset: {},
    TransparentProxy: {},
  } as const;
  if (Peer !== undefined) return { ID: `${Service}.default.default.external.${Peer}`, Peer, ...common };
  const subset = ServiceSubset === undefined ? '' : `${ServiceSubset}.`;
  const name = `${subset}${Service}.default.${dc}.internal.${trustDomain}`;
  return { ID: `${subset}${Service}.default.default.${dc}`, ...common, Datacenter: dc, SNI: name, Name: name };
}
