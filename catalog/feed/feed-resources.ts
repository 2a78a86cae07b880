import { parseResiliencePolicy } from '#policies/resilience-form.ts';
import type { FeedIntentions, FeedUpstream } from '#policies/wire/feed.ts';
import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import { endpointsOf } from './endpoints.ts';

/** A resource that changes with the store. The trust bundle, which does not, is handled by the hub. */
export type ResourceKey = `intentions/${string}` | `upstream/${string}`;

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
    const [kind, name] = split(key);
    const of = kind === 'upstream' ? 'upstream' : 'destination';
    return Math.max(topics.indexOf(`${of}/${name}`), topics.indexOf(`${of}/*`));
  }

  #render(key: ResourceKey): string {
    const [kind, name] = split(key);
    return JSON.stringify(kind === 'upstream' ? this.upstream(name) : this.intentions(name));
  }

  intentions(name: string): FeedIntentions {
    const { state, defaultAction } = this.#parts;
    const deciding = state.intentions.deciding(name) as FeedIntentions['intentions'];
    return { kind: 'intentions', name, protocol: state.protocolOf(name), defaultAction, intentions: deciding };
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

function split(key: ResourceKey): ['intentions' | 'upstream', string] {
  const at = key.indexOf('/');
  return [key.startsWith('upstream/') ? 'upstream' : 'intentions', key.slice(at + 1)];
}
