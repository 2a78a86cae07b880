import type { Intention } from '#policies/intention.ts';
import { parseResiliencePolicy } from '#policies/resilience-form.ts';
import type { FeedIntentions, FeedMeshNames, FeedUpstream } from '#policies/wire/feed.ts';
import { jwtProvidersOf } from '../jwt/providers.ts';
import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import { endpointsOf } from './endpoints.ts';

/** A resource that changes with the store. The trust bundle, which does not, is handled by the hub. */
export type ResourceKey = `intentions/${string}` | `upstream/${string}` | typeof meshNamesKey;
export const meshNamesKey = 'mesh-names/mesh';

/** Of one service, told to listeners. */
const maxPorts = 16;

/** A resource as JSON, and the revision that last changed what it says. */
interface Rendered {
  readonly json: string;
  readonly revision: number;
}

/** Resources of the feed as they travel: each is made once per change, however many proxies hold it. */
export class FeedResources {
  readonly #parts: CatalogParts;
  readonly #rendered = new Map<ResourceKey, Rendered>();

  constructor(parts: CatalogParts) {
    this.#parts = parts;
  }

  /** @returns the resource as it is now */
  get(key: ResourceKey): Rendered {
    const held = this.#rendered.get(key);
    if (held !== undefined) return held;
    const made = { json: this.#render(key), revision: this.#changedAt(key) };
    this.#rendered.set(key, made);
    return made;
  }

  /** Nobody holds it any more. */
  forget(key: ResourceKey): void {
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
      const json = this.#render(key);
      if (before === undefined || before.json === json) continue;
      this.#rendered.set(key, { json, revision });
      changed.push(key);
    }
    return changed;
  }

  /** An intention for `*` concerns everyone's intentions, proxy-defaults everyone's protocol. */
  *#concerned(touched: ReadonlySet<Topic>): Iterable<ResourceKey> {
    const everyIntention = touched.has('destination/*');
    const everyUpstream = touched.has('upstream/*');
    for (const key of everyIntention || everyUpstream ? this.#rendered.keys() : []) {
      if (key.startsWith('intentions/') ? everyIntention : everyUpstream) yield key;
    }
    if (touched.has('instances') && this.#rendered.has(meshNamesKey)) yield meshNamesKey;
    for (const topic of touched) {
      if (!everyUpstream && topic.startsWith('upstream/')) yield `upstream/${topic.slice('upstream/'.length)}`;
      if (!everyIntention && topic.startsWith('destination/')) {
        yield `intentions/${topic.slice('destination/'.length)}`;
      }
    }
  }

  /** Upper bound of the revision that changed a resource that was not followed until now. */
  #changedAt(key: ResourceKey): number {
    const { topics } = this.#parts.state;
    if (key === meshNamesKey) return topics.indexOf('instances');
    const [kind, name] = split(key);
    const of = kind === 'upstream' ? 'upstream' : 'destination';
    return Math.max(topics.indexOf(`${of}/${name}`), topics.indexOf(`${of}/*`));
  }

  #render(key: ResourceKey): string {
    if (key === meshNamesKey) return JSON.stringify(this.meshNames());
    const [kind, name] = split(key);
    return JSON.stringify(kind === 'upstream' ? this.upstream(name) : this.intentions(name));
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

  upstream(name: string): FeedUpstream {
    const { state } = this.#parts;
    return {
      kind: 'upstream',
      name,
      protocol: state.protocolOf(name),
      endpoints: endpointsOf(state, name, this.#parts),
      resilience: parseResiliencePolicy(state.resilience.get(name)?.record.Policy ?? {}),
    };
  }
}

function split(key: Exclude<ResourceKey, typeof meshNamesKey>): ['intentions' | 'upstream', string] {
  const at = key.indexOf('/');
  return [key.startsWith('upstream/') ? 'upstream' : 'intentions', key.slice(at + 1)];
}
