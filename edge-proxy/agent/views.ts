import { createHash } from 'node:crypto';
import { formatGoDuration } from '#policies/consul/go-duration.ts';
import type { LocalCheck } from './local-check.ts';
import type { LocalService } from './service-definition.ts';

/** AgentService (reference: api/agent.go): a service as /v1/agent shows it. `Kind` and empty `TaggedAddresses` are left out, as Go does. */
export function serviceView(service: LocalService, datacenter: string) {
  const { Kind, TaggedAddresses, ...rest } = service;
  return {
    ...(Kind === '' ? {} : { Kind }),
    ...rest,
    ...(Object.keys(TaggedAddresses).length === 0 ? {} : { TaggedAddresses }),
    CreateIndex: 0,
    ModifyIndex: 0,
    Datacenter: datacenter,
  };
}
export type ServiceView = ReturnType<typeof serviceView>;

/** What clients compare to see a change: `X-Consul-ContentHash`, `?hash=`. */
export function contentHash(view: ServiceView): string {
  return createHash('sha256').update(JSON.stringify(view)).digest('hex').slice(0, 16);
}

/** HealthCheck / AgentCheck (reference: api/health.go). */
export interface CheckView {
  readonly Node: string;
  readonly CheckID: string;
  readonly Name: string;
  readonly Status: string;
  readonly Notes: string;
  readonly Output: string;
  readonly ServiceID: string;
  readonly ServiceName: string;
  readonly ServiceTags: readonly string[];
  readonly Type: string;
  readonly Interval: string;
  readonly Timeout: string;
  readonly ExposedPort: number;
  readonly Definition: Readonly<Record<string, unknown>>;
}

/** @param service what the check is of; undefined: the node */
export function checkView(
  { definition, state }: LocalCheck,
  service: LocalService | undefined,
  node: string,
): CheckView {
  const { work } = definition;
  const probing = work.kind === 'probe';
  const Interval = probing ? formatGoDuration(work.intervalMs * 1e6) : '';
  const Timeout = probing ? formatGoDuration(work.timeoutMs * 1e6) : '';
  return {
    Node: node,
    CheckID: definition.id,
    Name: definition.name,
    Status: state.status,
    Notes: definition.notes,
    Output: state.output,
    ServiceID: definition.serviceId,
    ServiceName: service?.Service ?? '',
    ServiceTags: service?.Tags ?? [],
    Type: probing ? work.probe.kind : work.kind === 'ttl' ? 'ttl' : 'maintenance',
    Interval,
    Timeout,
    ExposedPort: 0,
    Definition: probing ? { ...target(work.probe), Interval, Timeout } : {},
  };
}

/** Headers and body of a check may hold a secret, and stay here. */
function target(probe: Extract<LocalCheck['definition']['work'], { kind: 'probe' }>['probe']) {
  return probe.kind === 'http'
    ? { HTTP: probe.url.href, Method: probe.method }
    : { TCP: `${probe.host.includes(':') ? `[${probe.host}]` : probe.host}:${probe.port}` };
}
