import { defaultPort } from '#policies/consul/service-ports.ts';
import type { AddressHolder, DnsInstance, DnsNode, DnsView, InstanceAddress, Reach } from '#runtime/dns/dns-view.ts';
import { hexOf, parseIpBytes } from '#runtime/dns/ip-bytes.ts';
import { parseDnsName } from '#runtime/dns/records.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { aggregate } from '../state/checks.ts';
import type { NodeRecord } from '../state/nodes.ts';
import type { ServiceInstance, ServiceRecord } from '../state/services.ts';
import type { Topic } from '../state/topics.ts';

/**
 * The catalog's state as DNS asks it: by name without case, health already summed up. What was asked is kept until its topic is touched, and only for
 * names that exist, so questions can't make it grow.
 */
export class CatalogDnsView implements DnsView {
  readonly #state: CatalogState;
  readonly #isCurrent: () => boolean;
  readonly #end: () => void;
  readonly #instances = new Map<string, readonly DnsInstance[]>();
  readonly #meshInstances = new Map<string, readonly DnsInstance[]>();
  #serviceNames: ReadonlyMap<string, readonly string[]> | undefined;
  #nodeNames: ReadonlyMap<string, readonly string[]> | undefined;
  #holders: ReadonlyMap<string, AddressHolder> | undefined;
  /** Addresses are never taken back, so their number tells whether one is new. */
  #meshNames: { readonly size: number; readonly names: ReadonlyMap<string, readonly string[]> } | undefined;

  constructor(state: CatalogState, isCurrent: () => boolean) {
    this.#state = state;
    this.#isCurrent = isCurrent;
    this.#end = state.onChange((touched) => this.#forget(touched));
  }

  get revision(): number {
    return this.#state.revision;
  }

  get current(): boolean {
    return this.#isCurrent();
  }

  instances(service: string): readonly DnsInstance[] {
    return this.#kept(this.#instances, service, (name) => this.#state.services.named(name));
  }

  meshInstances(service: string): readonly DnsInstance[] {
    return this.#kept(this.#meshInstances, service, (name) => this.#state.services.inMesh(name));
  }

  node(name: string): DnsNode | undefined {
    this.#nodeNames ??= byLowerCase(this.#state.nodes.list().map(({ record }) => record.Node));
    const record = this.#state.nodes.get(this.#nodeNames.get(name)?.[0] ?? '')?.record;
    return record && { name: record.Node, reach: reachOfNode(record), meta: record.Meta };
  }

  /** A node before a service, as Consul looks for them. */
  holderOf(hex: string): AddressHolder | undefined {
    this.#holders ??= this.#allHolders();
    return this.#holders.get(hex);
  }

  /** A service keeps its address while no instance is there: whoever calls gets the proxy's answer then. Of names that differ in case alone, the first. */
  meshAddress(service: string): Uint8Array | undefined {
    const { meshAddresses } = this.#state;
    if (this.#meshNames?.size !== meshAddresses.size) {
      const names = byLowerCase([...meshAddresses.list()].map(({ Service }) => Service));
      this.#meshNames = { size: meshAddresses.size, names };
    }
    const [name = ''] = this.#meshNames.names.get(service) ?? [];
    const address = meshAddresses.of(name);
    return address && parseIpBytes(address.Address);
  }

  close(): void {
    this.#end();
  }

  #kept(
    cache: Map<string, readonly DnsInstance[]>,
    service: string,
    find: (name: string) => readonly ServiceInstance[],
  ): readonly DnsInstance[] {
    const known = cache.get(service);
    if (known !== undefined) return known;
    const names = this.#allServiceNames().get(service);
    if (names === undefined) return [];
    const found = names.flatMap(find).flatMap((instance) => this.#instance(instance.record) ?? []);
    cache.set(service, found);
    return found;
  }

  #instance(record: ServiceRecord): DnsInstance | undefined {
    const node = this.#state.nodes.get(record.Node)?.record;
    if (node === undefined) return undefined;
    const status = aggregate(this.#state.checks.ofInstance(record.Node, record.ID));
    return {
      node: parseDnsName(record.Node),
      tags: record.Tags,
      port: defaultPort(record),
      status,
      weight: status === 'passing' ? record.Weights.Passing : record.Weights.Warning,
      reach: reachOfInstance(record, node),
    };
  }

  /** Every name that can be asked for: of services, and of what proxies stand for. */
  #allServiceNames(): ReadonlyMap<string, readonly string[]> {
    this.#serviceNames ??= byLowerCase(
      [...this.#state.services.list()].flatMap(({ record }) => [
        record.Service,
        ...(record.Kind === 'connect-proxy' ? [record.Proxy.DestinationServiceName ?? ''] : []),
      ]),
    );
    return this.#serviceNames;
  }

  #allHolders(): ReadonlyMap<string, AddressHolder> {
    const holders = new Map<string, AddressHolder>();
    const hold = (address: string, holder: AddressHolder): void => {
      const ip = parseIpBytes(address);
      if (ip !== undefined && !holders.has(hexOf(ip))) holders.set(hexOf(ip), holder);
    };
    for (const { record } of this.#state.nodes.list()) hold(record.Address, { kind: 'node', name: record.Node });
    for (const { record } of this.#state.services.list())
      hold(record.Address, { kind: 'service', name: record.Service });
    return holders;
  }

  #forget(touched: ReadonlySet<Topic>): void {
    for (const topic of touched) {
      const slash = topic.indexOf('/');
      const kind = slash < 0 ? topic : topic.slice(0, slash);
      const name = topic.slice(slash + 1);
      if (kind === 'health') this.#instances.delete(name.toLowerCase());
      else if (kind === 'connect-health') this.#meshInstances.delete(name.toLowerCase());
      else if (kind === 'nodes') this.#nodeNames = this.#holders = undefined;
      else if (kind === 'service' || kind === 'connect') this.#forgetNames(name);
    }
  }

  /** Only a name that is new makes the index of names wrong: one that has gone finds nothing. So registering again costs no new index. */
  #forgetNames(service: string): void {
    this.#holders = undefined;
    if (this.#serviceNames?.get(service.toLowerCase())?.includes(service) !== true) this.#serviceNames = undefined;
  }
}

function byLowerCase(names: readonly string[]): ReadonlyMap<string, readonly string[]> {
  return Map.groupBy(new Set(names), (name) => name.toLowerCase());
}

function reachOfInstance(record: ServiceRecord, node: NodeRecord): Reach {
  if (record.Address === '') return reachOfNode(node);
  const tagged = (tag: string) => record.TaggedAddresses[tag]?.Address;
  return reachOf('own', record.Address, tagged('lan_ipv4'), tagged('lan_ipv6'));
}

function reachOfNode({ Address, TaggedAddresses }: NodeRecord): Reach {
  return reachOf('node', Address, TaggedAddresses['lan_ipv4'], TaggedAddresses['lan_ipv6']);
}

function reachOf(kind: 'node' | 'own', text: string, ipv4: string | undefined, ipv6: string | undefined): Reach {
  const address = addressOf(kind, text);
  const tagged = (other: string | undefined) =>
    other === undefined || parseIpBytes(other) === undefined ? address : addressOf(kind, other);
  return { address, forA: tagged(ipv4), forAaaa: tagged(ipv6) };
}

function addressOf(kind: 'node' | 'own', text: string): InstanceAddress {
  const ip = parseIpBytes(text);
  return ip === undefined ? { kind: 'host', host: text } : { kind, ip, hex: hexOf(ip) };
}
