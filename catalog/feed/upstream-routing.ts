import { serviceEntryFields } from '#policies/consul/filter/consul-fields.ts';
import { compileFilter } from '#policies/consul/filter/filter.ts';
import { parseGoDuration } from '#policies/consul/go-duration.ts';
import { ChainFlaw } from '#policies/discovery-chain/chain-flaw.ts';
import { type ChainEntries, compileChain } from '#policies/discovery-chain/compile.ts';
import type { MirrorPolicy, ResiliencePolicy } from '#policies/resilience.ts';
import { parseResiliencePolicy } from '#policies/resilience-form.ts';
import { withRequestTimeout } from '#policies/routing/routed-policy.ts';
import { type ChainRouting, type RoutedTarget, routingOfChain } from '#policies/routing/routing-of-chain.ts';
import type { FeedRouting } from '#policies/wire/feed-routing.ts';
import { chainEntriesOf } from '../config-entries/chains.ts';
import { serviceEntryView } from '../consul/views.ts';
import type { CatalogParts } from '../parts.ts';
import type { ServiceInstance } from '../state/services.ts';
import type { Topic } from '../state/topics.ts';
import { endpointsOf } from './endpoints.ts';

type Places = Pick<CatalogParts, 'state' | 'datacenter' | 'trustDomain'>;

/** How an upstream is routed, and all that this depends on. */
export interface UpstreamRouting {
  /** Undefined: its calls go to its instances. `flawed`: its entries can't be compiled. */
  readonly routing: FeedRouting | 'flawed' | undefined;
  readonly topics: readonly Topic[];
}

/** The routing of an upstream as the proxies that call it have to know it. */
export function upstreamRouting(parts: Places, service: string): UpstreamRouting {
  const { state, datacenter, trustDomain } = parts;
  const topics = new Set<Topic>([`upstream/${service}`]);
  const entries = chainEntriesOf(state, (kind, name) => topics.add(`entry/${kind}/${name}`));
  let routing: ChainRouting | undefined;
  try {
    routing = routingOfChain(compileChain({ service, datacenter, trustDomain }, entries));
  } catch (error) {
    if (!(error instanceof ChainFlaw)) throw error;
    return { routing: 'flawed', topics: [...topics] };
  }
  const mirrors = mirrorsOf(parts, routing ?? plainRouting(service));
  if (routing === undefined && mirrors.length === 0 && !isByLocality(entries, service))
    return { routing, topics: [...topics] };
  const whole = withMirrors(routing ?? plainRouting(service), mirrors);
  const targets = Object.entries(whole.targets).map(([name, target]): [string, FeedRouting['targets'][string]] => {
    topics.add(`upstream/${target.service}`);
    const { service: called, elsewhere } = target;
    const locality = isByLocality(entries, called);
    const choice = { belongs: belongs(parts, target), locality };
    const endpoints = elsewhere ? [] : endpointsOf(state, called, parts, choice);
    const common = { service: called, endpoints, resilience: callersPolicy(parts, called) };
    return [name, locality ? { ...common, byLocality: true } : common];
  });
  return { routing: { ...whole, targets: Object.fromEntries(targets) }, topics: [...topics] };
}

/** Consul's word for: near instances first. */
function isByLocality(entries: ChainEntries, service: string): boolean {
  const own = entries.resolver(service)?.PrioritizeByLocality?.Mode;
  return (own ?? entries.proxyDefaults()?.PrioritizeByLocality?.Mode) === 'failover';
}

/** What a chain that says nothing comes to. */
function plainRouting(service: string): ChainRouting {
  return {
    routes: [{ next: service }],
    splitters: {},
    destinations: { [service]: { targets: [service] } },
    targets: { [service]: all(service) },
  };
}

function all(service: string): RoutedTarget {
  return { service, subset: { filter: '', onlyPassing: false }, elsewhere: false };
}

/** A destination whose service has a copy of its requests sent to another. */
interface Mirrored {
  readonly destination: string;
  readonly mirror: MirrorPolicy;
}

function mirrorsOf(parts: Places, { destinations, targets }: ChainRouting): Mirrored[] {
  return Object.entries(destinations).flatMap(([destination, { targets: names }]) => {
    const service = targets[names[0] ?? '']?.service;
    const mirror = service === undefined ? undefined : resilienceOf(parts, service).mirror;
    return mirror === undefined || mirror.service === service ? [] : [{ destination, mirror }];
  });
}

/** Copies go to the instances of the service that is named, whatever its own entries say. */
function withMirrors(routing: ChainRouting, mirrors: readonly Mirrored[]): ChainRouting {
  const destinations = { ...routing.destinations };
  const targets = { ...routing.targets };
  for (const { destination, mirror } of mirrors) {
    const name = `mirror:${mirror.service}`;
    const from = destinations[destination];
    if (from !== undefined) destinations[destination] = { ...from, mirror: { destination: name, share: mirror.share } };
    destinations[name] = { targets: [name] };
    targets[name] = all(mirror.service);
  }
  return { ...routing, destinations, targets };
}

/** Of a service's policy what its callers act on: of mirrors they learn by their routes, and limits are held by its own proxies. */
export function callersPolicy(parts: Places, service: string): Omit<ResiliencePolicy, 'mirror' | 'requestLimit'> {
  const { mirror: _, requestLimit: __, ...policy } = resilienceOf(parts, service);
  return policy;
}

/** How a service is called: its resilience policy, and over it what its service-resolver says in Consul's words. */
export function resilienceOf({ state }: Places, service: string): ResiliencePolicy {
  const policy = parseResiliencePolicy(state.resilience.get(service)?.record.Policy ?? {});
  const resolver = state.config.get('service-resolver', service)?.record;
  const connectTimeoutMs = milliseconds(resolver?.ConnectTimeout);
  const requestTimeoutMs = milliseconds(resolver?.RequestTimeout);
  const timed = requestTimeoutMs === undefined ? policy : withRequestTimeout(policy, requestTimeoutMs);
  return connectTimeoutMs === undefined ? timed : { ...timed, connectTimeoutMs };
}

function milliseconds(text: string | undefined): number | undefined {
  const ns = text === undefined ? 0 : (parseGoDuration(text) ?? 0);
  return ns <= 0 ? undefined : Math.max(1, Math.round(ns / 1e6));
}

/**
 * Which instances are of a subset. A filter sees the instance that callers reach, its proxy, as Consul's does; and with the tags and meta of the application behind
 * it, which a proxy that was registered with its application has itself.
 */
function belongs(parts: Places, { subset }: RoutedTarget): (instance: ServiceInstance, status: string) => boolean {
  const { state, datacenter } = parts;
  const { filter, onlyPassing } = subset;
  const passes = compileFilter(filter, serviceEntryFields);
  return (instance, status) => {
    if (onlyPassing && status !== 'passing') return false;
    const { Node } = instance.record;
    const node = state.nodes.get(Node);
    if (node === undefined) return false;
    const entry = serviceEntryView(instance, node, state.checks.ofInstance(Node, instance.record.ID), datacenter);
    const application = state.services.get(Node, instance.record.Proxy.DestinationServiceID ?? '')?.record;
    if (application === undefined) return passes(entry);
    const { Service } = entry;
    return passes({
      ...entry,
      Service: {
        ...Service,
        Tags: [...new Set([...Service.Tags, ...application.Tags])],
        Meta: { ...application.Meta, ...Service.Meta },
      },
    });
  };
}
