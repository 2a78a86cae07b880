import { type DnsFactKind, dnsFactKey } from '#policies/wire/dns-facts.ts';
import type { AddressHolder, DnsInstance, DnsNode, DnsView } from '#runtime/dns/dns-view.ts';
import type { FactOf } from './fact-values.ts';
import type { FollowedFacts } from './followed-facts.ts';

/** The catalog as the agent of a host answers DNS from it: what was asked before is at hand, the rest is fetched. */
export class AgentDnsView implements DnsView {
  readonly #facts: FollowedFacts;
  #missing: string[] = [];

  constructor(facts: FollowedFacts) {
    this.#facts = facts;
  }

  get revision(): number {
    return this.#facts.revision;
  }

  get current(): boolean {
    return this.#facts.current;
  }

  instances(service: string): readonly DnsInstance[] {
    return this.#look('service', service) ?? [];
  }

  meshInstances(service: string): readonly DnsInstance[] {
    return this.#look('connect', service) ?? [];
  }

  node(name: string): DnsNode | undefined {
    return this.#look('node', name);
  }

  holderOf(hex: string): AddressHolder | undefined {
    return this.#look('address', hex);
  }

  meshAddress(service: string): Uint8Array | undefined {
    return this.#look('mesh', service);
  }

  fetchMissing(): Promise<void> | undefined {
    if (this.#missing.length === 0) return undefined;
    const missing = this.#missing;
    this.#missing = [];
    return this.#facts.fetch(missing);
  }

  #look<Kind extends DnsFactKind>(kind: Kind, name: string): FactOf[Kind] | undefined {
    const known = this.#facts.get(kind, name);
    if (known !== 'unknown') return known.value;
    const key = `${kind}/${name}`;
    // Nothing is registered under any other name.
    if (dnsFactKey.safeParse(key).success) this.#missing.push(key);
    return undefined;
  }
}
