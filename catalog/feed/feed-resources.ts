import { instanceLimitsOf } from '#policies/config-entries/rate-limits.ts';
import { callingOf } from '#policies/config-entries/upstream-config.ts';
import type { Intention } from '#policies/intention.ts';
import type { RequestNormalization } from '#policies/request-normalization.ts';
import type {
  FeedIntentions,
  FeedLimits,
  FeedMeshNames,
  FeedNormalization,
  FeedUpstream,
} from '#policies/wire/feed.ts';
import { jwtProvidersOf } from '../jwt/providers.ts';
import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import { endpointsOf } from './endpoints.ts';
import { callersPolicy, resilienceOf, type UpstreamRouting, upstreamRouting } from './upstream-routing.ts';

/** A resource that changes with the store. The trust bundle, which does not, is handled by the hub. */
export type ResourceKey = `intentions/${string}` | `upstream/${string}` | `limits/${string}` | typeof meshNamesKey;
export const meshNamesKey = 'mesh-names/mesh';

/** Of one service, told to listeners. */
const maxPorts = 16;

/** A resource as JSON, and the revision that last changed what it says. */
interface Rendered {
  readonly json: string;
  readonly revision: number;
  /** All that it was made of. */
  readonly topics: readonly Topic[];
}

/** Resources of the feed as they travel: each is made once per change, however many proxies hold it. */
export class FeedResources {
  readonly #parts: CatalogParts;
  readonly #rendered = new Map<ResourceKey, Rendered>();
  /** Which resources a topic concerns. */
  readonly #dependants = new Map<Topic, Set<ResourceKey>>();

  constructor(parts: CatalogParts) {
    this.#parts = parts;
  }

  /** @returns the resource as it is now */
  get(key: ResourceKey): Rendered {
    const held = this.#rendered.get(key);
    if (held !== undefined) return held;
    const { json, topics } = this.#render(key);
    const made = { json, topics, revision: this.#changedAt(topics) };
    this.#keep(key, made);
    return made;
  }

  /** Nobody holds it any more. */
  forget(key: ResourceKey): void {
    this.#unlink(key);
    this.#rendered.delete(key);
  }

  /**
   * Follows a change of the state.
   * @returns the resources in use that now say something else; one whose checks only changed their output is not among them
   */
  refresh(touched: ReadonlySet<Topic>, revision: number): ResourceKey[] {
    const changed: ResourceKey[] = [];
    for (const key of this.#concerned(touched)) {
      const before = this.#rendered.get(key);
      if (before === undefined) continue;
      const { json, topics } = this.#render(key);
      const same = before.json === json;
      // What it hangs on may have changed all the same.
      this.#keep(key, { json, topics, revision: same ? before.revision : revision });
      if (!same) changed.push(key);
    }
    return changed;
  }

  #concerned(touched: ReadonlySet<Topic>): ReadonlySet<ResourceKey> {
    return new Set([...touched].flatMap((topic) => [...(this.#dependants.get(topic) ?? [])]));
  }

  /** Upper bound of the revision that changed a resource that was not followed until now. */
  #changedAt(topics: readonly Topic[]): number {
    return Math.max(...topics.map((topic) => this.#parts.state.topics.indexOf(topic)));
  }

  #keep(key: ResourceKey, rendered: Rendered): void {
    this.#unlink(key);
    this.#rendered.set(key, rendered);
    for (const topic of rendered.topics) {
      const dependants = this.#dependants.get(topic) ?? new Set();
      this.#dependants.set(topic, dependants.add(key));
    }
  }

  #unlink(key: ResourceKey): void {
    for (const topic of this.#rendered.get(key)?.topics ?? []) {
      const dependants = this.#dependants.get(topic);
      dependants?.delete(key);
      if (dependants?.size === 0) this.#dependants.delete(topic);
    }
  }

  #render(key: ResourceKey): { json: string; topics: readonly Topic[] } {
    if (key === meshNamesKey) return { json: JSON.stringify(this.meshNames()), topics: ['instances'] };
    const [kind, name] = split(key);
    if (kind === 'limits') {
      const topics: Topic[] = [`resilience/${name}`, `entry/service-defaults/${name}`, 'entry/mesh/mesh'];
      return { json: JSON.stringify(this.limits(name)), topics };
    }
    // An intention for `*` concerns everyone's intentions, proxy-defaults everyone's protocol.
    if (kind === 'intentions') {
      return { json: JSON.stringify(this.intentions(name)), topics: [`destination/${name}`, 'destination/*'] };
    }
    const { routing, topics } = upstreamRouting(this.#parts, name);
    return { json: JSON.stringify(this.#upstream(name, routing)), topics: [...topics, 'upstream/*'] };
  }

  intentions(name: string): FeedIntentions {
    const { state, defaultAction } = this.#parts;
    const deciding = state.intentions.deciding(name) as FeedIntentions['intentions'];
    const jwtProviders = jwtProvidersOf(state, deciding as readonly Intention[]);
    return {
      kind: 'intentions',
      name,
      protocol: state.protocolOf(name),
      defaultAction,
      intentions: deciding,
      ...(jwtProviders.length === 0 ? {} : { jwtProviders }),
    };
  }

  limits(name: string): FeedLimits {
    const { requestLimit } = resilienceOf(this.#parts, name);
    return {
      kind: 'limits',
      name,
      ...(requestLimit === undefined ? {} : { requestLimit }),
      ...this.#normalization(name),
      ...this.#ofDefaults(name),
    };
  }

  /** What a service says of its calls, and of how much each of its instances takes; left out where that is nothing. */
  #ofDefaults(name: string): Pick<FeedLimits, 'calling' | 'instanceLimits'> {
    const defaults = this.#parts.state.config.get('service-defaults', name)?.record;
    if (defaults === undefined) return {};
    const calling = callingOf(defaults);
    const instanceLimits = instanceLimitsOf(defaults);
    return {
      ...(calling === undefined ? {} : { calling }),
      ...(instanceLimits === undefined ? {} : { instanceLimits }),
    };
  }

  /** Services with an instance in the mesh and a port at which an application could be called. */
  meshNames(): FeedMeshNames {
    const { meshAddresses, services } = this.#parts.state;
    const named = [...meshAddresses.list()].flatMap(({ Service: service, Address: address }) => {
      if (services.inMesh(service).length === 0) return [];
      const ports = [...new Set(services.named(service).map(({ record }) => record.Port))]
        .filter((port) => port > 0)
        .sort((a, b) => a - b)
        .slice(0, maxPorts);
      return ports.length === 0 ? [] : [{ service, address, ports }];
    });
    return { kind: 'mesh-names', name: 'mesh', services: named };
  }

  /** Left out where it says nothing, so that older proxies understand the rest. */
  #normalization(name: string): { readonly normalization?: FeedNormalization } {
    const normalization = saying(this.#parts.state.normalizationOf(name));
    return Object.keys(normalization).length === 0 ? {} : { normalization };
  }

  /** With entries that can't be compiled nobody is called: the instances at hand may not be those that were meant. */
  #upstream(name: string, routing: UpstreamRouting['routing']): FeedUpstream {
    const { state, context } = this.#parts;
    if (routing === 'flawed')
      context.log.error({ upstream: name }, 'discovery chain not compiled: its callers are told of no instance');
    const common = {
      kind: 'upstream',
      name,
      protocol: state.protocolOf(name),
      ...this.#normalization(name),
    } as const;
    const resilience = callersPolicy(this.#parts, name);
    if (routing === undefined) return { ...common, endpoints: endpointsOf(state, name, this.#parts), resilience };
    return { ...common, endpoints: [], resilience, ...(routing === 'flawed' ? {} : { routing }) };
  }
}

/** Only what is not as strict as it is anyway. */
function saying({ escapedSlashes, underscores }: RequestNormalization): FeedNormalization {
  return {
    ...(escapedSlashes === 'REJECT_REQUEST' ? {} : { escapedSlashes }),
    ...(underscores === 'REJECT_REQUEST' ? {} : { underscores }),
  };
}

function split(key: Exclude<ResourceKey, typeof meshNamesKey>): ['intentions' | 'upstream' | 'limits', string] {
  const at = key.indexOf('/');
  const kind = key.slice(0, at);
  return [kind === 'upstream' || kind === 'limits' ? kind : 'intentions', key.slice(at + 1)];
}
