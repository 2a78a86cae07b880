import { z } from 'zod';
import { type CheckStatus, checkStatuses } from '#policies/consul/check-status.ts';
import type { Thresholds } from '#policies/consul/check-thresholds.ts';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { durationMsSchema } from '#policies/consul/go-duration.ts';
import type { Aliases } from '#policies/consul/go-json.ts';
import type { ProbeTarget } from './checks/open-probe.ts';
import { scriptArgs, toProbeTarget } from './probe-target.ts';

/** Consul raises a shorter interval to this, so that a typing error is no load test. */
const minIntervalMs = 1000;
/** Consul raises a shorter DeregisterCriticalServiceAfter to this. */
const minDeregisterMs = 60_000;
/** Consul's, when Timeout is not given. */
const defaultTimeoutMs = 10_000;
const defaultScriptTimeoutMs = 30_000;
const maxTimeoutMs = 3_600_000;
/** Most bytes of a check's output that are kept (Consul's default OutputMaxSize). */
export const maxOutputBytes = 4096;

const id = z
  .string()
  .max(200)
  .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII');
const count = z.int().min(0).max(1000).default(0);
const flag = z.boolean().default(false);
const place = z.string().max(512).default('');
/** A program and its arguments, as the operating system takes them. */
const args = z
  .array(
    z
      .string()
      .max(4096)
      .refine((arg) => !arg.includes('\0'), 'must hold no NUL'),
  )
  .max(128)
  .default([]);

/** A check in Consul's names, as service/register and check/register take it. */
export const checkSchema = z.object({
  ID: id.default(''),
  CheckID: id.default(''),
  Name: z.string().max(256).default(''),
  Notes: z.string().max(4096).default(''),
  ServiceID: id.default(''),
  Status: z.string().max(32).default(''),
  TTL: durationMsSchema.default(0),
  Interval: durationMsSchema.default(0),
  Timeout: durationMsSchema.default(0),
  HTTP: z.string().max(2048).default(''),
  Method: z.string().max(32).default(''),
  Header: z.record(z.string().max(256), z.array(z.string().max(4096)).max(16)).default({}),
  Body: z.string().max(65_536).default(''),
  /** Taken and always so: redirects are never followed. */
  DisableRedirects: flag,
  TLSServerName: z.string().max(255).default(''),
  TLSSkipVerify: flag,
  TCP: place,
  TCPUseTLS: flag,
  UDP: place,
  GRPC: z.string().max(1024).default(''),
  GRPCUseTLS: flag,
  H2PING: place,
  /** TLS unless said otherwise (Consul). */
  H2PingUseTLS: z.boolean().default(true),
  AliasNode: z.string().max(256).default(''),
  AliasService: id.default(''),
  ScriptArgs: args,
  Args: args,
  DockerContainerID: z.string().max(256).default(''),
  Shell: z.string().max(256).default(''),
  OSService: z.string().max(256).default(''),
  SuccessBeforePassing: count,
  FailuresBeforeWarning: count,
  FailuresBeforeCritical: count,
  OutputMaxSize: z.int().max(1_048_576).default(0),
  DeregisterCriticalServiceAfter: durationMsSchema.default(0),
});
export type CheckRequest = z.output<typeof checkSchema>;

/** Snake-case spellings of Consul's configuration files, which its API takes too. */
export const checkAliases: Aliases = {
  check_id: 'CheckID',
  service_id: 'ServiceID',
  script_args: 'ScriptArgs',
  disable_redirects: 'DisableRedirects',
  tls_server_name: 'TLSServerName',
  tls_skip_verify: 'TLSSkipVerify',
  tcp_use_tls: 'TCPUseTLS',
  grpc_use_tls: 'GRPCUseTLS',
  h2ping_use_tls: 'H2PingUseTLS',
  alias_node: 'AliasNode',
  alias_service: 'AliasService',
  docker_container_id: 'DockerContainerID',
  os_service: 'OSService',
  success_before_passing: 'SuccessBeforePassing',
  failures_before_warning: 'FailuresBeforeWarning',
  failures_before_critical: 'FailuresBeforeCritical',
  output_max_size: 'OutputMaxSize',
  deregister_critical_service_after: 'DeregisterCriticalServiceAfter',
};

/** How a check comes to its status. Times in milliseconds. */
export type CheckWork =
  | { readonly kind: 'ttl'; readonly ttlMs: number }
  | { readonly kind: 'probe'; readonly target: ProbeTarget; readonly intervalMs: number; readonly timeoutMs: number }
  /** As bad as the checks of another service and of its node. `node` '' is this one; `serviceId` '' is the node alone. */
  | { readonly kind: 'alias'; readonly node: string; readonly serviceId: string }
  /** Says what it was set to: maintenance. */
  | { readonly kind: 'fixed' };

/** A check as the agent keeps it. */
export interface CheckDefinition {
  readonly id: string;
  readonly name: string;
  readonly notes: string;
  /** '' for a check of the node. */
  readonly serviceId: string;
  readonly status: CheckStatus;
  readonly work: CheckWork;
  readonly thresholds: Thresholds;
  readonly maxOutputBytes: number;
  /** Critical for this long: the service is deregistered. Undefined: never. */
  readonly deregisterAfterMs: number | undefined;
  /** What it was made of; undefined for maintenance. */
  readonly request: CheckRequest | undefined;
}

/** @throws ConsulError 400 in Consul's words for what is contradictory; 501 for a kind of check that this agent does not run */
export function toCheckDefinition(request: CheckRequest, defaults: { id: string; name: string }): CheckDefinition {
  validate(request);
  const { SuccessBeforePassing, FailuresBeforeWarning, FailuresBeforeCritical, DeregisterCriticalServiceAfter } =
    request;
  return {
    id: request.CheckID || request.ID || defaults.id,
    name: request.Name || defaults.name,
    notes: request.Notes,
    serviceId: request.ServiceID,
    status: request.Status === '' ? 'critical' : knownStatus(request.Status, 'Bad check status'),
    work: toWork(request),
    thresholds: {
      successBeforePassing: SuccessBeforePassing,
      failuresBeforeWarning: FailuresBeforeWarning || FailuresBeforeCritical,
      failuresBeforeCritical: FailuresBeforeCritical,
    },
    maxOutputBytes: Math.min(request.OutputMaxSize || maxOutputBytes, maxOutputBytes),
    deregisterAfterMs:
      DeregisterCriticalServiceAfter === 0 ? undefined : Math.max(DeregisterCriticalServiceAfter, minDeregisterMs),
    request,
  };
}

/** Whether nothing at all is said: Consul passes over such a `Check` of a service. */
export function isEmptyCheck(request: CheckRequest): boolean {
  return JSON.stringify(request) === JSON.stringify(checkSchema.parse({}));
}

/** @throws ConsulError 400 with `problem` */
export function knownStatus(text: string, problem: string): CheckStatus {
  const status = checkStatuses.find((known) => known === text);
  if (status === undefined) throw new ConsulError(400, problem);
  return status;
}

/** The fields that say what to look at; a check has one of them. */
const targetFields = ['HTTP', 'TCP', 'UDP', 'GRPC', 'H2PING', 'OSService'] as const;

/** Consul's rules in Consul's order and words, then what it leaves open. */
function validate(request: CheckRequest): void {
  const targets = [
    ...targetFields.filter((field) => request[field] !== ''),
    ...(scriptArgs(request).length > 0 ? ['ScriptArgs'] : []),
  ];
  const isAlias = request.AliasNode !== '' || request.AliasService !== '';
  const { Interval, TTL } = request;
  const rules: readonly [broken: boolean, text: string][] = [
    [Interval > 0 && TTL > 0, 'Interval and TTL cannot both be specified'],
    [
      targets.length > 0 && Interval <= 0,
      'Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks',
    ],
    [targets.length > 0 && isAlias, 'Interval cannot be set for Alias checks'],
    [isAlias && TTL > 0, 'TTL must be not be set for Alias checks'],
    [targets.length === 0 && !isAlias && TTL <= 0, 'TTL must be > 0 for TTL checks'],
    [request.OutputMaxSize < 0, 'MaxOutputMaxSize must be positive'],
    [
      request.FailuresBeforeWarning > request.FailuresBeforeCritical,
      "FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
    ],
    // Consul runs one of them and passes over the others in silence.
    [targets.length > 1, `${targets.join(' and ')} cannot both be specified`],
  ];
  const [broken] = rules.filter(([is]) => is);
  if (broken !== undefined) throw new ConsulError(400, `Invalid check: ${broken[1]}`);
  const offered = 'this agent runs HTTP, TCP, UDP, GRPC, H2PING, TTL, alias and script checks';
  if (request.DockerContainerID !== '')
    throw new ConsulError(501, `Invalid check: DockerContainerID checks are not offered; ${offered}`);
  if (request.OSService !== '')
    throw new ConsulError(501, `Invalid check: OSService checks are not offered; ${offered}`);
}

function toWork(request: CheckRequest): CheckWork {
  if (request.AliasNode !== '' || request.AliasService !== '')
    return { kind: 'alias', node: request.AliasNode, serviceId: request.AliasService };
  if (request.TTL > 0) return { kind: 'ttl', ttlMs: request.TTL };
  const target = toProbeTarget(request);
  const defaultMs = target.kind === 'script' ? defaultScriptTimeoutMs : defaultTimeoutMs;
  return {
    kind: 'probe',
    target,
    intervalMs: Math.max(request.Interval, minIntervalMs),
    timeoutMs: Math.min(request.Timeout || defaultMs, maxTimeoutMs),
  };
}
