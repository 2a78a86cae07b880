import { createHash } from 'node:crypto';
import type { DnsFacts, DnsFactValue, DnsPlace } from '#policies/wire/dns-facts.ts';
import type { DnsInstance, InstanceAddress, Reach } from '#runtime/dns/dns-view.ts';
import { hexOf } from '#runtime/dns/ip-bytes.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { Topic } from '../state/topics.ts';
import { CatalogDnsView } from './catalog-view.ts';

type Fact = DnsFacts['facts'][string];

/** What agents that serve DNS follow (policies/wire/dns-facts.ts): facts with their tags, and who is to look again after a change. */
export class CatalogDnsFacts {
  readonly #state: CatalogState;
  readonly #view: CatalogDnsView;
  /** By what is followed. All that follow an address are under one name: it may become anybody's. */
  readonly #followers = new Map<string, Set<() => void>>();
  /** Lists of instances are the same objects for as long as they are true. */
  readonly #rendered = new WeakMap<readonly DnsInstance[], Fact>();

  constructor(state: CatalogState) {
    this.#state = state;
    this.#view = new CatalogDnsView(state, () => true);
    state.onChange((touched) => this.#wake(touched));
  }

  /** @returns what is not as its tag says */
  differing(known: Readonly<Record<string, string>>): DnsFacts {
    const facts: Record<string, Fact> = {};
    for (const [key, tag] of Object.entries(known)) {
      const fact = this.#factOf(key);
      if (fact.tag !== tag) facts[key] = fact;
    }
    return { revision: this.#state.revision, facts };
  }

  /** Calls `look` when one of the facts may have changed. @returns the end of it */
  follow(keys: readonly string[], look: () => void): () => void {
    const followed = new Set(keys.map((key) => (key.startsWith('address/') ? 'address' : key)));
    for (const one of followed) this.#followers.set(one, (this.#followers.get(one) ?? new Set()).add(look));
    return () => {
      for (const one of followed) {
        const followers = this.#followers.get(one);
        followers?.delete(look);
        if (followers?.size === 0) this.#followers.delete(one);
      }
    };
  }

  #factOf(key: string): Fact {
    const slash = key.indexOf('/');
    const name = key.slice(slash + 1);
    const view = this.#view;
    switch (key.slice(0, slash)) {
      case 'service':
        return this.#listed(view.instances(name));
      case 'connect':
        return this.#listed(view.meshInstances(name));
      case 'node': {
        const node = view.node(name);
        return tagged<DnsFactValue<'node'>>(node === undefined ? null : { ...node, reach: placesOf(node.reach) });
      }
      case 'address':
        return tagged<DnsFactValue<'address'>>(view.holderOf(name) ?? null);
      default: {
        const address = view.meshAddress(name);
        return tagged<DnsFactValue<'mesh'>>(address === undefined ? null : hexOf(address));
      }
    }
  }

  #listed(instances: readonly DnsInstance[]): Fact {
    let fact = this.#rendered.get(instances);
    if (fact === undefined) {
      const value = instances.map(({ node, reach, tags, ...rest }) => ({
        node: node?.join('.') ?? null,
        tags: [...tags],
        ...rest,
        reach: placesOf(reach),
      }));
      fact = tagged<DnsFactValue<'service'>>(value);
      this.#rendered.set(instances, fact);
    }
    return fact;
  }

  #wake(touched: ReadonlySet<Topic>): void {
    if (this.#followers.size === 0) return;
    const concerned = new Set<() => void>();
    for (const topic of touched) {
      for (const one of followedBy(topic)) for (const look of this.#followers.get(one) ?? []) concerned.add(look);
    }
    for (const look of concerned) look();
  }
}

/** What a topic is about. The address of a service in the mesh is given along with its first instance there. */
function followedBy(topic: Topic): readonly string[] {
  const slash = topic.indexOf('/');
  const name = topic.slice(slash + 1).toLowerCase();
  switch (slash < 0 ? topic : topic.slice(0, slash)) {
    case 'health':
      return [`service/${name}`];
    case 'connect-health':
      return [`connect/${name}`, `mesh/${name}`];
    case 'node':
      return [`node/${name}`];
    case 'nodes':
    case 'instances':
      return ['address'];
    default:
      return [];
  }
}

function tagged<T>(value: T): Fact {
  return { tag: createHash('sha256').update(JSON.stringify(value)).digest('base64url').slice(0, 16), value };
}

function placesOf({ address, forA, forAaaa }: Reach): Record<keyof Reach, DnsPlace> {
  return { address: placeOf(address), forA: placeOf(forA), forAaaa: placeOf(forAaaa) };
}

function placeOf(address: InstanceAddress): DnsPlace {
  return address.kind === 'host' ? address : { kind: address.kind, hex: address.hex };
}
