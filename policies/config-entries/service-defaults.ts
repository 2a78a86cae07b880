import { z } from 'zod';
import type { ServiceProtocol } from '../intention.ts';
import { count, entryFields, entryObject, invalidEntry, judgeServiceEntry, listOf, text } from './entry-object.ts';
import { judgeBalance, judgeUpstream, proxyFields, upstreamSchema } from './proxy-settings.ts';
import { judgeRateLimits } from './rate-limits.ts';
import { incomingSchema, judgeIncoming } from './request-normalization.ts';

const rate = z.int().min(0).default(0);
const path = z.string().max(1_024).default('');
const routeLimitSchema = entryObject({
  PathExact: path,
  PathPrefix: path,
  PathRegex: path,
  RequestsPerSecond: rate,
  RequestsMaxBurst: rate,
});
/** Of each instance, for all of its callers together. */
export const rateLimitsSchema = entryObject({
  InstanceLevel: entryObject({
    RequestsPerSecond: rate,
    RequestsMaxBurst: rate,
    Routes: z.array(routeLimitSchema).max(256).nullable().default(null),
  }).prefault({}),
});

/** Protocols of services. Consul takes any word and treats what it does not know as tcp; that would hide a misspelling, so it is refused. */
export const protocol = z
  .string()
  .max(64)
  .transform((value) => value.toLowerCase())
  .pipe(z.enum(['', 'tcp', 'http', 'http2', 'grpc'], { error: ({ input }) => notAProtocol(input) }));

function notAProtocol(input: unknown): string {
  return `${JSON.stringify(input)} is none of tcp, http, http2, grpc`;
}

/** Settings of one service. */
export const serviceDefaultsSchema = entryObject({
  ...entryFields('service-defaults'),
  Name: z.string().max(256).default(''),
  /** Empty: that of proxy-defaults, else tcp. */
  Protocol: protocol.default(''),
  ...proxyFields,
  ExternalSNI: text,
  UpstreamConfig: entryObject({
    Overrides: listOf(upstreamSchema),
    Defaults: upstreamSchema.exactOptional(),
  }).exactOptional(),
  Destination: entryObject({ Addresses: listOf(z.string().max(255)), Port: count }).exactOptional(),
  MaxInboundConnections: count,
  LocalConnectTimeoutMs: count,
  LocalRequestTimeoutMs: count,
  BalanceInboundConnections: text,
  RateLimits: rateLimitsSchema.exactOptional(),
  MaxRequestHeadersKB: count,
  /** Not Consul's: there it is of `mesh` alone. */
  HTTP: entryObject({ Incoming: incomingSchema.exactOptional() }).exactOptional(),
});
export type ServiceDefaults = z.output<typeof serviceDefaultsSchema>;

/** @throws ConsulError 400 in Consul's words */
export function judgeServiceDefaults(entry: ServiceDefaults): void {
  if (entry.Name === '*') {
    throw invalidEntry('service-defaults name must be the name of a service, and not a wildcard');
  }
  judgeServiceEntry(entry);
  judgeIncoming(entry);
  judgeBalance('balance_inbound_connections', entry.BalanceInboundConnections);
  const { UpstreamConfig: upstreams, Destination: destination } = entry;
  if (upstreams !== undefined && destination !== undefined) {
    throw invalidEntry('UpstreamConfig and Destination are mutually exclusive for service defaults');
  }
  for (const override of upstreams?.Overrides ?? []) judgeUpstream(override, true);
  if (upstreams?.Defaults !== undefined) judgeUpstream(upstreams.Defaults, false);
  if (destination !== undefined) judgeDestination(destination);
  if (entry.RateLimits !== undefined) judgeRateLimits(entry.RateLimits);
  for (const [field, ms] of Object.entries({
    MaxInboundConnections: entry.MaxInboundConnections,
    LocalConnectTimeoutMs: entry.LocalConnectTimeoutMs,
    LocalRequestTimeoutMs: entry.LocalRequestTimeoutMs,
    MaxRequestHeadersKB: entry.MaxRequestHeadersKB,
  })) {
    if ((ms ?? 0) < 0) throw invalidEntry(`${field} cannot be negative`);
  }
}

const ipAddress = z.union([z.ipv4(), z.ipv6()]);

function judgeDestination({ Addresses = [], Port = 0 }: NonNullable<ServiceDefaults['Destination']>): void {
  if (Addresses.length === 0) throw invalidEntry('Destination must contain at least one valid address');
  for (const [index, address] of Addresses.entries()) {
    if (Addresses.indexOf(address) < index) throw invalidEntry(`Duplicate address '${address}' is not allowed`);
    if (!ipAddress.safeParse(address).success && !/^(?!-)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?$/.test(address)) {
      throw invalidEntry(
        `Destination address '${address}' is invalid Could not validate address ${address} as an IP or Hostname`,
      );
    }
  }
  if (Port < 1 || Port > 65_535) throw invalidEntry(`Invalid Port number ${Port}`);
}

/** The protocol that an entry says; undefined: it leaves it to others. */
export function protocolSaid(said: string | undefined): ServiceProtocol | undefined {
  return said === 'tcp' || said === 'http' || said === 'http2' || said === 'grpc' ? said : undefined;
}
