import { createHash } from 'node:crypto';
import { formatGoDuration } from '#policies/consul/go-duration.ts';
import type { CheckDefinition, CheckWork } from './check-definition.ts';
import { formatGrpcTarget } from './checks/grpc-target.ts';
import { formatHostPort } from './checks/host-port.ts';
import { shownUrl } from './checks/http-probe.ts';
import type { ProbeTarget } from './checks/open-probe.ts';
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
    Type: work.kind === 'probe' ? work.target.kind : work.kind === 'fixed' ? 'maintenance' : work.kind,
    ...timing(definition),
    ExposedPort: 0,
    Definition: work.kind === 'probe' ? { ...targetView(work.target), ...timing(definition) } : aliasView(work),
  };
}

/** As Consul prints them: `0s` where nothing is asked for, nothing at all for maintenance. */
function timing({ work, request }: CheckDefinition) {
  if (request === undefined) return { Interval: '', Timeout: '' };
  const intervalMs = work.kind === 'probe' ? work.intervalMs : 0;
  return { Interval: formatGoDuration(intervalMs * 1e6), Timeout: formatGoDuration(request.Timeout * 1e6) };
}

function aliasView(work: CheckWork) {
  return work.kind === 'alias' ? { AliasNode: work.node, AliasService: work.serviceId } : {};
}

/** Headers and body of a check and arguments of a script may hold a secret, and stay here. */
function targetView(target: ProbeTarget): Readonly<Record<string, unknown>> {
  switch (target.kind) {
    case 'http':
      return { HTTP: shownUrl(target.url), Method: target.method };
    case 'tcp':
      return { TCP: formatHostPort(target), ...(target.tls && { TCPUseTLS: true }) };
    case 'udp':
      return { UDP: formatHostPort(target) };
    case 'grpc':
      return { GRPC: formatGrpcTarget(target), GRPCUseTLS: target.tls !== undefined };
    case 'h2ping':
      return { H2PING: formatHostPort(target), H2PingUseTLS: target.tls !== undefined };
    case 'script':
      return {};
  }
}
