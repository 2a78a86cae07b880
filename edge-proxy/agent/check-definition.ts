import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { durationMsSchema } from '#policies/consul/go-duration.ts';
import type { Aliases } from '#policies/consul/go-json.ts';

/** What a check can say. */
export const checkStatuses = ['passing', 'warning', 'critical'] as const;
export type CheckStatus = (typeof checkStatuses)[number];

/** Consul raises a shorter interval to this, so that a typing error is no load test. */
const minIntervalMs = 1000;
/** Consul raises a shorter DeregisterCriticalServiceAfter to this. */
const minDeregisterMs = 60_000;
const defaultTimeoutMs = 10_000;
const maxTimeoutMs = 3_600_000;
/** Most bytes of a check's output that are kept (Consul's default OutputMaxSize). */
export const maxOutputBytes = 4096;

const id = z
  .string()
  .max(200)
  .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII');
const count = z.int().min(0).max(1000).default(0);
const flag = z.boolean().default(false);
/** Kinds of check that Consul runs and this agent does not: given, they are refused and never silently left out. */
const notRun = z.unknown().optional();

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
  TLSServerName: z.string().max(255).default(''),
  TLSSkipVerify: flag,
  TCP: z.string().max(512).default(''),
  TCPUseTLS: flag,
  SuccessBeforePassing: count,
  FailuresBeforeWarning: count,
  FailuresBeforeCritical: count,
  OutputMaxSize: z.int().min(0).max(1_048_576).default(0),
  DeregisterCriticalServiceAfter: durationMsSchema.default(0),
  ScriptArgs: notRun,
  Args: notRun,
  DockerContainerID: notRun,
  UDP: notRun,
  GRPC: notRun,
  H2PING: notRun,
  AliasNode: notRun,
  AliasService: notRun,
  OSService: notRun,
});
export type CheckRequest = z.output<typeof checkSchema>;

/** Snake-case spellings of Consul's configuration files, which its API takes too. */
export const checkAliases: Aliases = {
  check_id: 'CheckID',
  service_id: 'ServiceID',
  tls_server_name: 'TLSServerName',
  tls_skip_verify: 'TLSSkipVerify',
  success_before_passing: 'SuccessBeforePassing',
  failures_before_warning: 'FailuresBeforeWarning',
  failures_before_critical: 'FailuresBeforeCritical',
  output_max_size: 'OutputMaxSize',
  deregister_critical_service_after: 'DeregisterCriticalServiceAfter',
};

/** What is done at every interval. */
export type Probe =
  | {
      readonly kind: 'http';
      readonly url: URL;
      readonly method: string;
      readonly headers: Readonly<Record<string, readonly string[]>>;
      readonly body: string;
      readonly tlsServerName: string;
      readonly tlsSkipVerify: boolean;
    }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** How a check comes to its status. Times in milliseconds. */
export type CheckWork =
  | { readonly kind: 'ttl'; readonly ttlMs: number }
  | { readonly kind: 'probe'; readonly probe: Probe; readonly intervalMs: number; readonly timeoutMs: number }
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
  readonly successBeforePassing: number;
  readonly failuresBeforeWarning: number;
  readonly failuresBeforeCritical: number;
  readonly maxOutputBytes: number;
  /** Critical for this long: the service is deregistered. Undefined: never. */
  readonly deregisterAfterMs: number | undefined;
}

/** @throws ConsulError 400 for what is contradictory; 501 for a kind of check that this agent does not run */
export function toCheckDefinition(request: CheckRequest, defaults: { id: string; name: string }): CheckDefinition {
  const status = request.Status === '' ? 'critical' : request.Status;
  const failuresBeforeCritical = request.FailuresBeforeCritical;
  return {
    id: request.CheckID || request.ID || defaults.id,
    name: request.Name || defaults.name,
    notes: request.Notes,
    serviceId: request.ServiceID,
    status: parseStatus(status),
    work: toWork(request),
    successBeforePassing: request.SuccessBeforePassing,
    failuresBeforeWarning: request.FailuresBeforeWarning || failuresBeforeCritical,
    failuresBeforeCritical,
    maxOutputBytes: Math.min(request.OutputMaxSize || maxOutputBytes, maxOutputBytes),
    deregisterAfterMs:
      request.DeregisterCriticalServiceAfter === 0
        ? undefined
        : Math.max(request.DeregisterCriticalServiceAfter, minDeregisterMs),
  };
}

/** @throws ConsulError 400 */
export function parseStatus(text: string): CheckStatus {
  const status = checkStatuses.find((known) => known === text);
  if (status === undefined) throw new ConsulError(400, `Invalid check status: ${JSON.stringify(text)}`);
  return status;
}

function toWork(request: CheckRequest): CheckWork {
  for (const kind of unsupportedKinds) {
    if (isGiven(request[kind]))
      throw new ConsulError(501, `Invalid check: ${kind} checks are not offered; use HTTP, TCP or TTL`);
  }
  if (request.TCPUseTLS)
    throw new ConsulError(501, 'Invalid check: TCPUseTLS is not offered; use HTTP with an https URL');
  const probes = [request.HTTP, request.TCP].filter((target) => target !== '').length;
  if (probes > 1) throw new ConsulError(400, 'Invalid check: HTTP and TCP cannot both be specified');
  if (probes === 0) {
    if (request.TTL <= 0) throw new ConsulError(400, 'Invalid check: TTL must be > 0 for TTL checks');
    if (request.Interval > 0) throw new ConsulError(400, 'Invalid check: Interval and TTL cannot both be specified');
    return { kind: 'ttl', ttlMs: request.TTL };
  }
  if (request.TTL > 0) throw new ConsulError(400, 'Invalid check: Interval and TTL cannot both be specified');
  if (request.Interval <= 0) throw new ConsulError(400, 'Invalid check: Interval must be > 0 for HTTP and TCP checks');
  return {
    kind: 'probe',
    probe: request.HTTP === '' ? tcpProbe(request.TCP) : httpProbe(request),
    intervalMs: Math.max(request.Interval, minIntervalMs),
    timeoutMs: Math.min(request.Timeout || defaultTimeoutMs, maxTimeoutMs),
  };
}

const unsupportedKinds = [
  'ScriptArgs',
  'Args',
  'DockerContainerID',
  'UDP',
  'GRPC',
  'H2PING',
  'AliasNode',
  'AliasService',
  'OSService',
] as const satisfies readonly (keyof CheckRequest)[];

/** Consul's clients send a kind's empty value where it is not meant. */
function isGiven(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== '' && value !== false;
}

function httpProbe(request: CheckRequest): Probe {
  const url = URL.canParse(request.HTTP) ? new URL(request.HTTP) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new ConsulError(400, `Invalid check: ${JSON.stringify(request.HTTP)} is not an http or https URL`);
  }
  const method = request.Method === '' ? 'GET' : request.Method.toUpperCase();
  if (!/^[A-Z]{1,32}$/.test(method) || method === 'CONNECT')
    throw new ConsulError(400, 'Invalid check: Method is not valid');
  for (const [name, values] of Object.entries(request.Header)) {
    const fit = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name) && values.every((value) => /^[\t\x20-\x7e]*$/.test(value));
    if (!fit) throw new ConsulError(400, `Invalid check: Header ${JSON.stringify(name)} is not valid`);
  }
  const { Header: headers, Body: body, TLSServerName: tlsServerName, TLSSkipVerify: tlsSkipVerify } = request;
  return { kind: 'http', url, method, headers, body, tlsServerName, tlsSkipVerify };
}

function tcpProbe(target: string): Probe {
  // The URL parser knows every form of host and port there is.
  const url = /^[^/@?#\\\s]+$/.test(target) && URL.canParse(`tcp://${target}`) ? new URL(`tcp://${target}`) : undefined;
  if (url === undefined || url.port === '' || url.hostname === '') {
    throw new ConsulError(400, `Invalid check: TCP ${JSON.stringify(target)} is not host:port`);
  }
  return { kind: 'tcp', host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
}
