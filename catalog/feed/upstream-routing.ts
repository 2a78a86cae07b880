import { serviceEntryFields } from '#policies/consul/filter/consul-fields.ts';
import { compileFilter } from '#policies/consul/filter/filter.ts';
import { parseGoDuration } from '#policies/consul/go-duration.ts';
import { ChainFlaw } from '#policies/discovery-chain/chain-flaw.ts';
import { compileChain } from '#policies/discovery-chain/compile.ts';
import type { ResiliencePolicy } from '#policies/resilience.ts';
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
  if (routing === undefined) return { routing, topics: [...topics] };
  const targets = Object.entries(routing.targets).map(([name, target]): [string, FeedRouting['targets'][string]] => {
    topics.add(`upstream/${target.service}`);
    const endpoints = target.elsewhere ? [] : endpointsOf(state, target.service, parts, belongs(parts, target));
    return [name, { service: target.service, endpoints, resilience: resilienceOf(parts, target.service) }];
  });
  return { routing: { ...routing, targets: Object.fromEntries(targets) }, topics: [...topics] };
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
