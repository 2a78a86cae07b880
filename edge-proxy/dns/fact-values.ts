import { type DnsFactKind, type DnsPlace, dnsFactSchemas } from '#policies/wire/dns-facts.ts';
import type { AddressHolder, DnsInstance, DnsNode, InstanceAddress, Reach } from '#runtime/dns/dns-view.ts';
import { parseHexAddress } from '#runtime/dns/ip-bytes.ts';
import { parseDnsName } from '#runtime/dns/records.ts';

/** What is known of a fact, by its kind. */
export interface FactOf {
  readonly service: readonly DnsInstance[];
  readonly connect: readonly DnsInstance[];
  readonly node: DnsNode | undefined;
  readonly address: AddressHolder | undefined;
  readonly mesh: Uint8Array | undefined;
}

/** Reads what the catalog said of `kind/name`. Throws ZodError for what it can't have said. */
export function readFact(key: string, value: unknown): FactOf[DnsFactKind] {
  switch (key.slice(0, key.indexOf('/'))) {
    case 'service':
    case 'connect':
      return dnsFactSchemas.service.parse(value).map(({ node, reach, ...rest }) => ({
        ...rest,
        node: node === null ? undefined : parseDnsName(node),
        reach: reachOf(reach),
      }));
    case 'node': {
      const node = dnsFactSchemas.node.parse(value);
      return node === null ? undefined : { ...node, reach: reachOf(node.reach) };
    }
    case 'address':
      return dnsFactSchemas.address.parse(value) ?? undefined;
    default: {
      const hex = dnsFactSchemas.mesh.parse(value);
      return hex === null ? undefined : parseHexAddress(hex);
    }
  }
}

function reachOf({ address, forA, forAaaa }: Readonly<Record<keyof Reach, DnsPlace>>): Reach {
  return { address: addressOf(address), forA: addressOf(forA), forAaaa: addressOf(forAaaa) };
}

function addressOf(place: DnsPlace): InstanceAddress {
  if (place.kind === 'host') return place;
  const ip = parseHexAddress(place.hex);
  return ip === undefined ? { kind: 'host', host: place.hex } : { ...place, ip }; // the schema lets no other digits in
}
