import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionSet, OptionValues } from '#runtime/configuration.ts';
import type { DnsName } from '#runtime/dns/protocol.ts';
import { parseDnsName } from '#runtime/dns/records.ts';
import type { DnsConfig } from '#runtime/dns/serve-zone.ts';
import type { ServiceTtl } from '#runtime/dns/service-ttl.ts';
import { durationMs, onOff } from '#runtime/option-kinds.ts';
import { parseSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';

/** How DNS is served, of `dev`, `serve catalog` and `serve edge-proxy`; where, `--dns-addr`, is each one's own. */
export const dnsOptions = {
  dnsDomain: {
    parse: dnsDomain,
    placeholder: 'name',
    default: 'consul',
    description: 'zone of the names, as in web.service.consul',
  },
  dnsRecursor: {
    parse: recursor,
    placeholder: 'address',
    repeatable: true,
    description: 'DNS server to ask for all other names, 10.0.0.2 or 10.0.0.2:53; without one they are refused',
  },
  dnsServiceTtl: {
    parse: serviceTtl,
    placeholder: 'name=duration',
    repeatable: true,
    description: 'how long answers about a service may be kept: db=5s, api-*=10s, *=1s; 0 where none fits',
  },
  dnsNodeTtl: {
    parse: ttl,
    placeholder: 'duration',
    default: '0s',
    description: 'how long answers about nodes and addresses may be kept',
  },
  dnsOnlyPassing: { parse: onOff, description: 'leave out instances whose checks warn, not only critical ones' },
} as const satisfies OptionSet;

/** The configuration of a DNS server at `listen`. */
export function dnsConfig(listen: SocketAddress, options: OptionValues<typeof dnsOptions>): DnsConfig {
  return {
    listen,
    domain: options.dnsDomain,
    recursors: options.dnsRecursor,
    serviceTtls: options.dnsServiceTtl,
    nodeTtlSeconds: options.dnsNodeTtl,
    onlyPassing: options.dnsOnlyPassing ?? false,
  };
}

function dnsDomain(text: string): DnsName {
  const name = parseDnsName(text.toLowerCase());
  const last = name?.at(-1);
  if (name === undefined || !/^[a-z0-9.-]+$/.test(name.join('.')) || last === 'arpa' || last === 'mesh')
    throw new MeshError('SLV-1002', 'a DNS name is expected, like consul or service.example.com; not arpa or mesh');
  return name;
}

function recursor(text: string): SocketAddress {
  const hasPort = /^\[.*\]:\d+$|^[^:]*:\d+$/.test(text);
  const host = text.includes(':') && !text.startsWith('[') ? `[${text}]` : text;
  return parseSocketAddress(hasPort ? text : `${host}:53`);
}

function serviceTtl(text: string): ServiceTtl {
  const [, pattern, duration] = /^([A-Za-z0-9._-]*\*|[A-Za-z0-9._-]+)=(.+)$/.exec(text) ?? [];
  if (pattern === undefined || duration === undefined)
    throw new MeshError('SLV-1002', `"${text.slice(0, 80)}" is not a TTL; it takes the form db=5s, api-*=10s or *=1s`);
  return { pattern, seconds: ttl(duration) };
}

/** Seconds, whole: DNS knows no others. */
function ttl(text: string): number {
  const seconds = durationMs(text) / 1_000;
  if (!Number.isInteger(seconds) || seconds > 604_800)
    throw new MeshError('SLV-1002', 'a TTL is whole seconds, at most 168h');
  return seconds;
}
