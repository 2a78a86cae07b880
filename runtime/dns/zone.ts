import type { Random } from '../clock.ts';
import type { DnsInstance, DnsNode, DnsView, InstanceAddress, Reach } from './dns-view.ts';
import { hexOf, parseHexAddress, parseReverseName } from './ip-bytes.ts';
import { type Answer, emptyAnswer } from './message-writer.ts';
import { type DnsName, recordTypes } from './protocol.ts';
import type { Question } from './query.ts';
import { addressRecord, type DnsRecord, parseDnsName } from './records.ts';

/**
 * From a question to its answer, by Consul's names (docs: services/discovery/dns-static-lookups). Pure: time is not asked, chance is passed in.
 *
 *     [tag.]name.service[.dc].domain    _name._tag.service[.dc].domain    name.connect[.dc].domain    node.node[.dc].domain
 *     name.virtual[.dc].domain    hex.addr[.dc].domain    ns.domain    name.mesh    …in-addr.arpa, …ip6.arpa
 *
 * where `.dc` is also `.dc.dc`. Unlike Consul's, a name that only has names below it is there, without data (RFC 8020), and SOA and NS belong to the
 * zone's own name: resolvers that minimise what they ask stop at an NXDOMAIN.
 */

/** What an operator settles. */
export interface ZoneSettings {
  /** Labels of the zone, in lower case: `consul`. */
  readonly domain: DnsName;
  readonly datacenter: string;
  readonly onlyPassing: boolean;
  readonly nodeTtlSeconds: number;
  /** By name of the service. */
  serviceTtlSeconds(service: string): number;
  /** Where this server listens, for `ns.<domain>`; undefined on all addresses. */
  readonly serverAddress: Uint8Array | undefined;
}

/** The answer, or: not of these zones. `unless` is what then holds if no other server is asked. */
export type ZoneAnswer =
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'elsewhere'; readonly unless: Answer };

/** Zone of the names that stand for a service in the mesh (blueprint section 8). */
const meshZone: DnsName = ['mesh'];
const { A, AAAA, ANY, CNAME, NS, PTR, SOA, SRV, TXT } = recordTypes;

/** @returns what these zones say to a question of class IN */
export function answerQuestion(question: Question, view: DnsView, settings: ZoneSettings, random: Random): ZoneAnswer {
  return new Asked(question, view, settings, random).answer();
}

/** One question under way. */
class Asked {
  readonly #question: Question;
  readonly #view: DnsView;
  readonly #settings: ZoneSettings;
  readonly #random: Random;
  readonly #datacenter: DnsName;
  #zone: DnsName;

  constructor(question: Question, view: DnsView, settings: ZoneSettings, random: Random) {
    this.#question = question;
    this.#view = view;
    this.#settings = settings;
    this.#random = random;
    this.#zone = settings.domain;
    this.#datacenter = settings.datacenter.toLowerCase().split('.');
  }

  answer(): ZoneAnswer {
    const { name } = this.#question;
    if (endsWith(name, ['arpa'])) return this.#reverse();
    if (endsWith(name, this.#settings.domain)) {
      return { kind: 'answer', answer: this.#inDomain(name.slice(0, -this.#settings.domain.length)) };
    }
    if (endsWith(name, meshZone)) {
      this.#zone = meshZone;
      return { kind: 'answer', answer: name.length === 1 ? this.#apex() : this.#meshAddress(name.slice(0, -1)) };
    }
    return { kind: 'elsewhere', unless: emptyAnswer('REFUSED') };
  }

  #inDomain(name: DnsName): Answer {
    if (name.length === 0) return this.#apex();
    if (name.length === 1 && name[0] === 'ns') return this.#nameServer();
    const local = this.#withoutDatacenter(name);
    if (local === undefined) return this.#missing();
    const kind = local.at(-1);
    const parts = local.slice(0, -1);
    if (kind === undefined) return this.#nothing();
    switch (kind) {
      case 'service':
        return parts.length === 0 ? this.#nothing() : this.#service(parts);
      case 'connect':
        return parts.length === 0 ? this.#nothing() : this.#connect(parts);
      case 'node':
        return parts.length === 0 ? this.#nothing() : this.#node(parts.join('.'));
      case 'virtual':
        return parts.length === 0 ? this.#nothing() : this.#meshAddress(parts);
      case 'addr':
        return parts.length === 0 ? this.#nothing() : this.#hexAddress(parts);
      default:
        // `_web._tcp.consul`: "service" may be left out where it can't mean anything else.
        return this.#question.type === SRV && kind.startsWith('_') ? this.#service(local) : this.#missing();
    }
  }

  /** @returns the name without `.dc` or `.dc.dc`; undefined for one of another datacenter */
  #withoutDatacenter(name: DnsName): DnsName | undefined {
    const explicit = name.at(-1) === 'dc';
    const rest = explicit ? name.slice(0, -1) : name;
    if (endsWith(rest, this.#datacenter)) return rest.slice(0, -this.#datacenter.length);
    return explicit && rest.length > 0 ? undefined : rest;
  }

  #service(parts: DnsName): Answer {
    const [first = '', second = ''] = parts;
    const isRfc2782 = parts.length === 2 && first.startsWith('_') && second.startsWith('_');
    if (parts.length === 1 && first.startsWith('_')) return this.#nothing();
    const service = isRfc2782 ? first.slice(1) : (parts.at(-1) ?? '');
    const tag = isRfc2782 ? second.slice(1) : parts.slice(0, -1).join('.');
    const instances = this.#view.instances(service);
    // `_tcp` is what clients put there who know no tags.
    const wanted = tag === '' || (isRfc2782 && tag === 'tcp') ? instances : instances.filter(hasTag(tag));
    return this.#instances(wanted, service);
  }

  #connect(parts: DnsName): Answer {
    const [service = ''] = parts;
    return parts.length === 1 ? this.#instances(this.#view.meshInstances(service), service) : this.#missing();
  }

  #instances(all: readonly DnsInstance[], service: string): Answer {
    const { onlyPassing } = this.#settings;
    const healthy = all.filter(({ status }) => status === 'passing' || (status === 'warning' && !onlyPassing));
    if (healthy.length === 0) return this.#missing();
    const ttlSeconds = this.#settings.serviceTtlSeconds(service);
    const { type } = this.#question;
    const shuffled = this.#shuffled(healthy);
    if (type === SRV) return this.#targets(shuffled, ttlSeconds);
    return this.#data(
      this.#addresses(
        shuffled.map(({ reach }) => reach),
        ttlSeconds,
      ),
    );
  }

  /** Addresses of the family asked for, each once. Only hosts: the first of them, as a name can be another name for one thing only. */
  #addresses(reaches: readonly Reach[], ttlSeconds: number): DnsRecord[] {
    const { type } = this.#question;
    const addresses = reaches.map((reach) => (type === A ? reach.forA : type === AAAA ? reach.forAaaa : reach.address));
    const found = new Map<string, DnsRecord>();
    let host: string | undefined;
    for (const address of addresses) {
      if (address.kind === 'host') host ??= address.host;
      else if (isAsked(type, address.ip) && !found.has(address.hex))
        found.set(address.hex, addressRecord(undefined, address.ip, ttlSeconds));
    }
    const onlyHosts = addresses.every(({ kind }) => kind === 'host');
    const target = host === undefined || !onlyHosts ? undefined : parseDnsName(host);
    if (target === undefined || ![A, AAAA, CNAME, ANY].some((one) => one === type)) return [...found.values()];
    return [{ owner: undefined, ttlSeconds, type: 'CNAME', target }];
  }

  #targets(instances: readonly DnsInstance[], ttlSeconds: number): Answer {
    const answers: DnsRecord[] = [];
    const additional: DnsRecord[] = [];
    const seen = new Set<string>();
    for (const { node, reach, port, weight } of instances) {
      const { address } = reach;
      const target = address.kind === 'host' ? parseDnsName(address.host) : this.#nameOf(node, address);
      if (target === undefined) continue;
      const key = `${target.join('.')}:${port}`;
      if (seen.has(key)) continue;
      seen.add(key);
      answers.push({ owner: undefined, ttlSeconds, type: 'SRV', priority: 1, weight, port, target });
      // An address for each target, also the same again, as Consul answers: HAProxy gives an additional record to one SRV record alone, and two instances
      // of one host would be one server for it.
      if (address.kind === 'host') continue;
      additional.push(addressRecord(target, address.ip, ttlSeconds));
    }
    return this.#data(answers, additional);
  }

  /** `<node>.node.<dc>.<domain>`, or `<hex>.addr.…` for an address of the instance's own and for a node whose name is no DNS name. */
  #nameOf(node: DnsName | undefined, address: InstanceAddress & { readonly hex: string }): DnsName {
    const under = node === undefined || address.kind !== 'node' ? [address.hex, 'addr'] : [...node, 'node'];
    return [...under, ...this.#datacenter, ...this.#settings.domain];
  }

  #node(name: string): Answer {
    const node = this.#view.node(name);
    if (node === undefined) return this.#missing();
    const { type } = this.#question;
    const ttlSeconds = this.#settings.nodeTtlSeconds;
    const texts = metaRecords(node, ttlSeconds);
    if (type === TXT) return this.#data(texts);
    const addresses = this.#addresses([node.reach], ttlSeconds);
    if (type === ANY) return this.#data([...addresses, ...texts]);
    return this.#data(addresses, addresses.length === 0 ? [] : texts);
  }

  #meshAddress(parts: DnsName): Answer {
    const address = this.#view.meshAddress(parts.join('.'));
    if (address === undefined) return this.#missing();
    const isWanted = isAsked(this.#question.type, address);
    return this.#data(isWanted ? [addressRecord(undefined, address, this.#settings.nodeTtlSeconds)] : []);
  }

  #hexAddress(parts: DnsName): Answer {
    const address = parts.length === 1 ? parseHexAddress(parts[0] ?? '') : undefined;
    if (address === undefined) return this.#missing();
    const isWanted = isAsked(this.#question.type, address);
    return this.#data(isWanted ? [addressRecord(undefined, address, this.#settings.nodeTtlSeconds)] : []);
  }

  #reverse(): ZoneAnswer {
    const address = parseReverseName(this.#question.name);
    const holder = address === undefined ? undefined : this.#view.holderOf(hexOf(address));
    const name = holder === undefined ? undefined : parseDnsName(holder.name);
    if (holder === undefined || name === undefined) return { kind: 'elsewhere', unless: this.#missing() };
    const target = [...name, holder.kind, ...this.#datacenter, ...this.#settings.domain];
    const isWanted = this.#question.type === PTR || this.#question.type === ANY;
    return {
      kind: 'answer',
      answer: this.#data(isWanted ? [{ owner: undefined, ttlSeconds: 0, type: 'PTR', target }] : []),
    };
  }

  #apex(): Answer {
    const soa: DnsRecord = { ...this.#soa(), owner: undefined };
    const server = this.#serverName();
    const ns: DnsRecord = { owner: undefined, ttlSeconds: 0, type: 'NS', target: server };
    const { serverAddress } = this.#settings;
    const glue = serverAddress === undefined ? [] : [addressRecord(server, serverAddress, 0)];
    switch (this.#question.type) {
      case SOA:
        return this.#data([soa], glue, [ns]);
      case NS:
        return this.#data([ns], glue);
      case ANY:
        return this.#data([soa, ns], glue);
      default:
        return this.#nothing();
    }
  }

  #nameServer(): Answer {
    const { serverAddress } = this.#settings;
    const isWanted = serverAddress !== undefined && isAsked(this.#question.type, serverAddress);
    return this.#data(isWanted ? [addressRecord(undefined, serverAddress, 0)] : []);
  }

  #serverName(): DnsName {
    return ['ns', ...this.#settings.domain];
  }

  /** Consul's numbers. A minimum of 0: that something is not there is not remembered. */
  #soa(): DnsRecord {
    return {
      owner: this.#zone,
      ttlSeconds: 0,
      type: 'SOA',
      server: this.#serverName(),
      mailbox: ['hostmaster', ...this.#settings.domain],
      serial: this.#view.revision,
      refresh: 3_600,
      retry: 600,
      expire: 86_400,
      minimum: 0,
    };
  }

  #data(
    answers: readonly DnsRecord[],
    additional: readonly DnsRecord[] = [],
    authority: readonly DnsRecord[] = [],
  ): Answer {
    if (answers.length === 0) return this.#nothing();
    return { code: 'NOERROR', authoritative: true, answers, authority, additional };
  }

  /** NODATA: the name is there, what is asked of it is not (RFC 2308 2.2). */
  #nothing(): Answer {
    return { code: 'NOERROR', authoritative: true, answers: [], authority: [this.#soa()], additional: [] };
  }

  #missing(): Answer {
    return { code: 'NXDOMAIN', authoritative: true, answers: [], authority: [this.#soa()], additional: [] };
  }

  /** Fisher and Yates: each order as likely as any other. */
  #shuffled<T>(given: readonly T[]): T[] {
    const items = [...given];
    for (let last = items.length - 1; last > 0; last--) {
      const at = Math.floor(this.#random() * (last + 1));
      const [a, b] = [items[last], items[at]];
      if (a === undefined || b === undefined) continue;
      items[last] = b;
      items[at] = a;
    }
    return items;
  }
}

function endsWith(name: DnsName, end: DnsName): boolean {
  return name.length >= end.length && end.every((label, index) => name[name.length - end.length + index] === label);
}

function hasTag(tag: string): (instance: DnsInstance) => boolean {
  return ({ tags }) => tags.some((one) => one.toLowerCase() === tag);
}

function isAsked(type: number, address: Uint8Array): boolean {
  return type === ANY || type === (address.length === 4 ? A : AAAA);
}

/** `key=value` by RFC 1464, but for keys that begin with `rfc1035-`, whose value stands alone (Consul). */
function metaRecords(node: DnsNode, ttlSeconds: number): DnsRecord[] {
  return Object.entries(node.meta).map(([key, value]) => ({
    owner: undefined,
    ttlSeconds,
    type: 'TXT',
    text: key.toLowerCase().startsWith('rfc1035-') ? value : `${quoteKey(key)}=${value.replaceAll('`', '``')}`,
  }));
}

function quoteKey(key: string): string {
  return key.replace(/[`=]/g, '`$&').replace(/^ +| +$/g, (spaces) => '` '.repeat(spaces.length));
}
