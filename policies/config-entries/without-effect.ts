import { maxRouteAttempts, retriedOn } from '../routing/route-retries.ts';
import type { EntryKind, KeptEntry } from './config-entry.ts';
import type { ServiceResolver } from './service-resolver.ts';
import type { ServiceRouter } from './service-router.ts';
import { upstreamFieldsWithoutEffect } from './upstream-config.ts';

/** What the proxies of the mesh act on, by kind; all else is kept, shown, and without effect on traffic. */
const actedOn: { readonly [Kind in EntryKind]?: readonly string[] } = {
  'service-defaults': ['Protocol', 'HTTP', 'UpstreamConfig', 'RateLimits'],
  'jwt-provider': [
    'JSONWebKeySet',
    'Issuer',
    'Audiences',
    'Locations',
    'Forwarding',
    'ClockSkewSeconds',
    'CacheConfig',
  ],
  'service-resolver': [
    'DefaultSubset',
    'Subsets',
    'Redirect',
    'Failover',
    'ConnectTimeout',
    'RequestTimeout',
    'LoadBalancer',
    'PrioritizeByLocality',
  ],
  'proxy-defaults': ['PrioritizeByLocality'],
  'service-router': ['Routes'],
  'service-splitter': ['Splits'],
  mesh: ['HTTP'],
};
/** Says nothing of traffic. */
const descriptive: readonly string[] = ['Kind', 'Name', 'Meta'];
/** Fields of which one word is what is done anyway. */
const doneAnyway: Readonly<Record<string, string>> = { Mode: 'direct', MutualTLSMode: 'strict' };

/**
 * What an entry says to proxies that they don't act on: fields, or parts of them (`Failover.Policy.Mode`). In `proxy-defaults`, `Config.protocol` is acted on.
 * @param datacenter the own one, which is nowhere else; undefined: any that is named is told
 */
export function fieldsWithoutEffect(entry: KeptEntry, datacenter?: string): string[] {
  const known = [...descriptive, ...(actedOn[entry.Kind] ?? [])];
  const whole = Object.entries(entry).flatMap(([field, value]) => {
    if (known.includes(field) || saysNothing(value) || doneAnyway[field] === value) return [];
    if (entry.Kind !== 'proxy-defaults') return [field];
    if (field === 'FailoverPolicy') return orderFields(field, entry.FailoverPolicy);
    if (field !== 'Config') return [field];
    return Object.keys(entry.Config ?? {})
      .filter((key) => key !== 'protocol')
      .map((key) => `Config.${key}`);
  });
  return [...new Set([...whole, ...partsWithoutEffect(entry, datacenter)])];
}

/** Of fields that are acted on. */
function partsWithoutEffect(entry: KeptEntry, datacenter: string | undefined): string[] {
  switch (entry.Kind) {
    case 'service-router':
      return ofRouter(entry);
    case 'service-resolver':
      return ofResolver(entry, datacenter);
    case 'service-defaults':
      return upstreamFieldsWithoutEffect(entry);
    case 'mesh':
      return entry.HTTP?.SanitizeXForwardedClientCert === true ? ['HTTP.SanitizeXForwardedClientCert'] : [];
    default:
      return [];
  }
}

/** Whether a resolver sends every call to where nobody is known: another datacenter, or a peer. */
export function redirectsElsewhere({ Redirect }: ServiceResolver, datacenter: string): boolean {
  return Redirect !== undefined && elsewhereFields('', Redirect, datacenter).length > 0;
}

/** Words for retries that no proxy follows, and numbers that can't be. */
function ofRouter({ Routes }: ServiceRouter): string[] {
  return (Routes ?? []).flatMap(({ Destination: { RetryOn = [], RetryOnStatusCodes = [], NumRetries = 0 } = {} }) => [
    ...RetryOn.filter((word) => !retriedOn(word)).map((word) => `RetryOn:${word}`),
    ...RetryOnStatusCodes.filter((code) => code < 100 || code > 599).map((code) => `RetryOnStatusCodes:${code}`),
    ...(NumRetries > maxRouteAttempts ? [`NumRetries:${NumRetries}(at-most-${maxRouteAttempts})`] : []),
  ]);
}

/** Nobody of another datacenter or of a peer is known here, and targets are failed over to in the order in which they stand. */
function ofResolver({ Redirect, Failover = {}, LoadBalancer }: ServiceResolver, datacenter?: string): string[] {
  const failovers = Object.values(Failover).flatMap(({ Datacenters = [], Targets = [], Policy }) => [
    ...(Datacenters.some((one) => one !== datacenter) ? ['Failover.Datacenters'] : []),
    ...Targets.flatMap((target) => elsewhereFields('Failover.Targets.', target, datacenter)),
    ...orderFields('Failover.Policy', Policy),
  ]);
  const { MinimumRingSize = 0, MaximumRingSize = 0 } = LoadBalancer?.RingHashConfig ?? {};
  const hashes = LoadBalancer?.HashPolicies ?? [];
  return [
    ...(Redirect === undefined ? [] : elsewhereFields('Redirect.', Redirect, datacenter)),
    ...failovers,
    ...(Math.max(MinimumRingSize, MaximumRingSize) > maxRingSize
      ? [`LoadBalancer.RingHashConfig(at-most-${maxRingSize})`]
      : []),
    ...(hashes.some(({ Field, SourceIP }) => Field === undefined && SourceIP !== true)
      ? ['LoadBalancer.HashPolicies(of-nothing)']
      : []),
  ];
}

/** Places of a hash ring, at most (edge-proxy/resilience/hash-places.ts). */
export const maxRingSize = 65_536;

interface Place {
  readonly Datacenter?: string | undefined;
  readonly Peer?: string | undefined;
}

function elsewhereFields(at: string, { Datacenter, Peer }: Place, own: string | undefined): string[] {
  return [
    ...(Datacenter === undefined || Datacenter === own ? [] : [`${at}Datacenter`]),
    ...(Peer === undefined ? [] : [`${at}Peer`]),
  ];
}

interface Order {
  readonly Mode?: string | undefined;
  readonly Regions?: readonly string[] | undefined;
}

function orderFields(at: string, { Mode, Regions = [] }: Order = {}): string[] {
  return [...(Mode === 'order-by-locality' ? [`${at}.Mode`] : []), ...(Regions.length > 0 ? [`${at}.Regions`] : [])];
}

function saysNothing(value: unknown): boolean {
  if (typeof value !== 'object') return value === undefined || value === false || value === '';
  return value === null || Object.values(value).every(saysNothing);
}
