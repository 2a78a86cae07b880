import type { HeaderModifiers } from '../config-entries/header-modifiers.ts';
import type { LoadBalancer } from '../config-entries/load-balancer.ts';
import type { ServiceRoute } from '../config-entries/service-router.ts';
import { parseGoDuration } from '../consul/go-duration.ts';
import type { ChainNode, ChainTarget, CompiledChain } from '../discovery-chain/compiled-chain.ts';
import type {
  FeedHashPolicy,
  FeedHeaderEdits,
  FeedLoadBalancer,
  FeedRoute,
  FeedRouteMatch,
  FeedRouting,
  FeedSplit,
} from '../wire/feed-routing.ts';
import { routeRetriesOf } from './route-retries.ts';

/** A target of a chain, whose instances and policy the catalog has yet to look up. */
export interface RoutedTarget {
  readonly service: string;
  /** Which instances of the service. */
  readonly subset: { readonly filter: string; readonly onlyPassing: boolean };
  /** In another datacenter or of a peer: nobody there is known here. */
  readonly elsewhere: boolean;
}

/** FeedRouting with its targets described, not filled in. */
export interface ChainRouting extends Omit<FeedRouting, 'targets'> {
  readonly targets: Readonly<Record<string, RoutedTarget>>;
}

/**
 * Brings a compiled chain into the form in which it travels to the proxies: routes that lead to splitters or destinations, splitters to destinations, destinations
 * to targets.
 *
 * @returns undefined where the chain says nothing but "the instances of this service"
 */
export function routingOfChain(chain: CompiledChain): ChainRouting | undefined {
  const nameOf = (id: string): string => targetName(chain, id);
  const names = new Map<string, string>();
  const splitters: Record<string, FeedSplit[]> = {};
  const destinations: Record<string, FeedRouting['destinations'][string]> = {};
  for (const [key, node] of Object.entries(chain.Nodes))
    if (node.Type !== 'router') names.set(key, nodeName(node, nameOf));
  const next = (key: string): string => names.get(key) ?? key;
  for (const [key, node] of Object.entries(chain.Nodes)) {
    if (node.Type === 'splitter') {
      const splits = node.Splits.map(({ Definition, Weight = 0, NextNode }) => ({
        weight: Math.round(Weight * 100),
        next: next(NextNode),
        ...editsOf(Definition),
      }));
      splitters[next(key)] = madeWhole(splits);
    } else if (node.Type === 'resolver') {
      const { Target, Failover } = node.Resolver;
      destinations[next(key)] = {
        targets: [Target, ...(Failover?.Targets ?? [])].map(nameOf),
        ...balancerOf(node.LoadBalancer),
      };
    }
  }
  const start = chain.Nodes[chain.StartNode];
  const routes: FeedRoute[] =
    start?.Type === 'router'
      ? start.Routes.map(({ Definition, NextNode }, at) =>
          routeOf(at === start.Routes.length - 1 ? {} : (Definition as ServiceRoute), next(NextNode)),
        )
      : [{ next: next(chain.StartNode) }];
  const targets = Object.fromEntries(
    Object.entries(chain.Targets).map(([id, target]) => [nameOf(id), routedTarget(target, chain.Datacenter)]),
  );
  const routing = { routes, splitters, destinations, targets };
  return isPlain(routing, chain.ServiceName) ? undefined : routing;
}

/** One route, one destination, one target: the service itself, whole. */
function isPlain({ routes, destinations, targets }: ChainRouting, service: string): boolean {
  const [only] = routes;
  const destination = destinations[only?.next ?? ''];
  if (routes.length !== 1 || destination === undefined || destination.loadBalancer !== undefined) return false;
  const [target] = destination.targets;
  return destination.targets.length === 1 && target === service && targets[service]?.elsewhere === false;
}

/** Shares of shares are rounded: what is missing or too much is the largest's. */
function madeWhole(splits: FeedSplit[]): FeedSplit[] {
  const missing = 10_000 - splits.reduce((sum, { weight }) => sum + weight, 0);
  if (missing === 0) return splits;
  const largest = splits.reduce((best, split, at) => (split.weight > (splits[best]?.weight ?? 0) ? at : best), 0);
  return splits.map((split, at) =>
    at === largest ? { ...split, weight: Math.max(0, split.weight + missing) } : split,
  );
}

function nodeName(node: Exclude<ChainNode, { Type: 'router' }>, nameOf: (id: string) => string): string {
  return node.Type === 'splitter' ? `split:${node.Name.split('.')[0]}` : nameOf(node.Resolver.Target);
}

/** `db`, `v2.db`, `db@dc2`, `db@peer:east`: short, for people read it in `/status`. */
function targetName(chain: CompiledChain, id: string): string {
  const target = chain.Targets[id];
  if (target === undefined) return id;
  const { Service, ServiceSubset, Datacenter, Peer } = target;
  const base = ServiceSubset === undefined ? Service : `${ServiceSubset}.${Service}`;
  if (Peer !== undefined) return `${base}@peer:${Peer}`;
  return Datacenter === undefined || Datacenter === chain.Datacenter ? base : `${base}@${Datacenter}`;
}

function routedTarget(target: ChainTarget, datacenter: string): RoutedTarget {
  const { Service, Subset, Datacenter, Peer } = target;
  return {
    service: Service,
    subset: { filter: Subset.Filter ?? '', onlyPassing: Subset.OnlyPassing === true },
    elsewhere: Peer !== undefined || (Datacenter !== undefined && Datacenter !== datacenter),
  };
}

function routeOf({ Match, Destination }: ServiceRoute, next: string): FeedRoute {
  const match = matchOf(Match?.HTTP);
  if (Destination === undefined) return { ...(match === undefined ? {} : { match }), next };
  const { PrefixRewrite, RequestTimeout, IdleTimeout } = Destination;
  const retries = routeRetriesOf(Destination);
  return {
    ...(match === undefined ? {} : { match }),
    next,
    ...(PrefixRewrite === undefined ? {} : { prefixRewrite: PrefixRewrite }),
    ...durationMs('requestTimeoutMs', RequestTimeout),
    ...durationMs('idleTimeoutMs', IdleTimeout),
    ...(retries === undefined ? {} : { retries }),
    ...editsOf(Destination),
  };
}

type HttpMatch = NonNullable<NonNullable<ServiceRoute['Match']>['HTTP']>;

function matchOf(http: HttpMatch | undefined): FeedRouteMatch | undefined {
  if (http === undefined) return undefined;
  const { PathExact, PathPrefix, PathRegex, CaseInsensitive, Header, QueryParam, Methods } = http;
  const match: FeedRouteMatch = {
    ...said('pathExact', PathExact),
    ...said('pathPrefix', PathPrefix),
    ...said('pathRegex', PathRegex),
    ...said('caseInsensitive', CaseInsensitive),
    ...said('methods', Methods),
    ...said(
      'headers',
      Header?.map(({ Name, Present, Exact, Prefix, Suffix, Regex, Invert }) => ({
        name: Name,
        ...said('present', Present),
        ...said('exact', Exact),
        ...said('prefix', Prefix),
        ...said('suffix', Suffix),
        ...said('regex', Regex),
        ...said('invert', Invert),
      })),
    ),
    ...said(
      'queryParameters',
      QueryParam?.map(({ Name, Present, Exact, Regex }) => ({
        name: Name,
        ...said('present', Present),
        ...said('exact', Exact),
        ...said('regex', Regex),
      })),
    ),
  };
  return Object.keys(match).length === 0 ? undefined : match;
}

/** A field that is there when it says something. */
function said<Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } {
  return (value === undefined ? {} : { [key]: value }) as { [K in Key]?: Value };
}

function durationMs<Key extends string>(key: Key, text: string | undefined): { [K in Key]?: number } {
  const ns = text === undefined ? 0 : (parseGoDuration(text) ?? 0);
  return said(key, ns === 0 ? undefined : Math.max(1, Math.round(ns / 1e6)));
}

interface Edited {
  readonly RequestHeaders?: HeaderModifiers;
  readonly ResponseHeaders?: HeaderModifiers;
}

function editsOf({ RequestHeaders, ResponseHeaders }: Edited): {
  requestHeaders?: FeedHeaderEdits;
  responseHeaders?: FeedHeaderEdits;
} {
  return {
    ...said('requestHeaders', headerEdits(RequestHeaders)),
    ...said('responseHeaders', headerEdits(ResponseHeaders)),
  };
}

function headerEdits(modifiers: HeaderModifiers | undefined): FeedHeaderEdits | undefined {
  if (modifiers === undefined) return undefined;
  const { Add, Set: Put, Remove } = modifiers;
  const edits = { ...said('remove', Remove), ...said('set', Put), ...said('add', Add) };
  return Object.keys(edits).length === 0 ? undefined : edits;
}

function balancerOf(balancer: LoadBalancer | undefined): { loadBalancer?: FeedLoadBalancer } {
  switch (balancer?.Policy) {
    case 'round_robin':
      return { loadBalancer: { policy: 'round-robin' } };
    case 'random':
      return { loadBalancer: { policy: 'random' } };
    case 'least_request':
      return {
        loadBalancer: { policy: 'least-request', ...said('choices', balancer.LeastRequestConfig?.ChoiceCount) },
      };
    case 'ring_hash':
      return {
        loadBalancer: {
          policy: 'ring-hash',
          hash: hashPolicies(balancer),
          ...said('minimumRingSize', balancer.RingHashConfig?.MinimumRingSize),
          ...said('maximumRingSize', balancer.RingHashConfig?.MaximumRingSize),
        },
      };
    case 'maglev':
      return { loadBalancer: { policy: 'maglev', hash: hashPolicies(balancer) } };
    default:
      return {};
  }
}

const hashedOn = { header: 'header', cookie: 'cookie', query_parameter: 'query-parameter' } as const;

function hashPolicies({ HashPolicies = [] }: LoadBalancer): FeedHashPolicy[] {
  return HashPolicies.flatMap(({ Field, FieldValue, CookieConfig, SourceIP, Terminal }) => {
    const on = SourceIP === true ? 'source-ip' : hashedOn[Field as keyof typeof hashedOn];
    if (on === undefined) return []; // one that names nothing to hash says nothing
    const { TTL = 0, Session, Path } = CookieConfig ?? {};
    // One that lasts for no time is not made, unless it is of a session (Consul).
    const cookie = TTL === 0 && Session !== true ? undefined : { ttlMs: Math.round(TTL / 1e6), ...said('path', Path) };
    return [{ on, ...said('name', FieldValue), ...said('cookie', cookie), ...said('terminal', Terminal) }];
  });
}
