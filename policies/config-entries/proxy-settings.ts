import { z } from 'zod';
import {
  count,
  countOrZero,
  defaultOnly,
  durationNs,
  durationNsOrZero,
  entryObject,
  flag,
  invalidEntry,
  listOf,
  oneOf,
  readOnly,
  shownWhenEmpty,
  text,
} from './entry-object.ts';

/** Settings of proxies that more than one kind of entry has. */

const transparentProxySchema = entryObject({ OutboundListenerPort: count, DialedDirectly: flag });
const meshGatewaySchema = entryObject({ Mode: oneOf(['none', 'local', 'remote']) });
const exposeSchema = entryObject({
  Checks: flag,
  Paths: listOf(
    entryObject({
      ListenerPort: count,
      Path: text,
      LocalPathPort: count,
      Protocol: oneOf(['http', 'http2']),
      ParsedFromCheck: readOnly,
    }),
  ),
});

/** An extension of Envoy's: there is no Envoy here, but who moves over keeps the entry as it is. */
export const envoyExtensions = listOf(
  entryObject({
    Name: text,
    Required: z.boolean().default(false),
    Arguments: z.record(z.string(), z.unknown()).nullable().default(null),
    ConsulVersion: z.string().max(64).default(''),
    EnvoyVersion: z.string().max(64).default(''),
  }),
);

/** How proxies are set up, of one service or of all. */
export const proxyFields = {
  Mode: oneOf(['direct', 'transparent']),
  TransparentProxy: shownWhenEmpty(transparentProxySchema),
  MutualTLSMode: oneOf(['strict', 'permissive']),
  MeshGateway: shownWhenEmpty(meshGatewaySchema),
  Expose: shownWhenEmpty(exposeSchema),
  EnvoyExtensions: envoyExtensions,
};

const limitsSchema = entryObject({
  MaxConnections: countOrZero,
  MaxPendingRequests: countOrZero,
  MaxConcurrentRequests: countOrZero,
});

const passiveHealthCheckSchema = entryObject({
  Interval: durationNs,
  MaxFailures: count,
  EnforcingConsecutive5xx: countOrZero,
  EnforcingConsecutiveGatewayFailure: countOrZero,
  ConsecutiveGatewayFailure: countOrZero,
  Consecutive5xx: countOrZero,
  MaxEjectionPercent: countOrZero,
  BaseEjectionTime: durationNsOrZero,
});

/** What calls to an upstream keep to. */
export const upstreamSchema = entryObject({
  Name: text,
  Namespace: defaultOnly,
  Partition: defaultOnly,
  Peer: text,
  EnvoyListenerJSON: z.string().max(65_536).exactOptional(),
  EnvoyClusterJSON: z.string().max(65_536).exactOptional(),
  Protocol: z
    .string()
    .max(64)
    .transform((value) => (value === '' ? undefined : value.toLowerCase()))
    .exactOptional(),
  ConnectTimeoutMs: z
    .int()
    .transform((ms) => (ms > 0 ? ms : undefined)) // less than nothing is nothing (Consul)
    .exactOptional(),
  Limits: limitsSchema.exactOptional(),
  PassiveHealthCheck: passiveHealthCheckSchema.exactOptional(),
  MeshGateway: shownWhenEmpty(meshGatewaySchema),
  BalanceOutboundConnections: text,
});
type Upstream = z.output<typeof upstreamSchema>;

/** @throws ConsulError 400 */
export function judgeBalance(field: string, given: string | undefined): void {
  if (given !== undefined && given !== 'exact_balance') throw invalidEntry(`invalid value for ${field}: ${given}`);
}

/**
 * Judges the settings of an upstream.
 * @param named whether they are of one upstream rather than of all
 * @throws ConsulError 400 in Consul's words
 */
export function judgeUpstream(upstream: Upstream, named: boolean): void {
  const at = named ? `error in upstream override for ${upstream.Name ?? ''}: ` : 'error in upstream defaults: ';
  if (named && upstream.Name === undefined) throw invalidEntry(`${at}Name is required`);
  if (named && upstream.Name === '*') throw invalidEntry(`${at}Wildcard name is not supported`);
  if (!named && upstream.Name !== undefined) throw invalidEntry(`${at}Name must be empty`);
  const { PassiveHealthCheck: check = {}, Limits: limits = {} } = upstream;
  if ((check.Interval ?? 0) < 0) throw invalidEntry(`${at}passive health check interval cannot be negative`);
  for (const [field, percent] of [
    ['enforcing_consecutive_5xx', check.EnforcingConsecutive5xx],
    ['enforcing_consecutive_gateway_failure', check.EnforcingConsecutiveGatewayFailure],
    ['max_ejection_percent', check.MaxEjectionPercent],
  ] as const) {
    if (percent !== undefined && (percent < 0 || percent > 100)) {
      throw invalidEntry(`${at}passive health check ${field} must be a percentage between 0 and 100`);
    }
  }
  if ((check.BaseEjectionTime ?? 0) < 0) {
    throw invalidEntry(`${at}passive health check base_ejection_time cannot be negative`);
  }
  for (const [what, limit] of [
    ['max connections', limits.MaxConnections],
    ['max pending requests', limits.MaxPendingRequests],
    ['max concurrent requests', limits.MaxConcurrentRequests],
  ] as const) {
    if ((limit ?? 0) < 0) throw invalidEntry(`${at}${what} cannot be negative`);
  }
  judgeBalance('balance_outbound_connections', upstream.BalanceOutboundConnections);
}
