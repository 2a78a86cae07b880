import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { formatGoDuration, parseGoDuration } from '#policies/consul/go-duration.ts';
import type { CheckRecord } from '../state/checks.ts';
import { itemId, label, nodeName } from './names.ts';

/** Go's duration as Consul takes it: its string, or a number of nanoseconds; always given back as Go's string. */
const duration = z.union([z.string().max(64), z.int().min(0)]).transform((value, context) => {
  const ns = typeof value === 'number' ? value : value === '' ? 0 : parseGoDuration(value);
  if (ns !== undefined && ns >= 0) return formatGoDuration(ns);
  context.issues.push({ code: 'custom', input: value, message: 'is not a duration' });
  return z.NEVER;
});

/** How a check is run. The catalog keeps it for those who read it; agents run checks. */
const definitionSchema = z.object({
  HTTP: z.string().max(2_048).optional(),
  Header: z.record(z.string().max(256), z.array(z.string().max(4_096)).max(64)).optional(),
  Method: z.string().max(32).optional(),
  Body: z.string().max(65_536).optional(),
  TLSServerName: z.string().max(255).optional(),
  TLSSkipVerify: z.boolean().optional(),
  TCP: z.string().max(512).optional(),
  UDP: z.string().max(512).optional(),
  GRPC: z.string().max(512).optional(),
  GRPCUseTLS: z.boolean().optional(),
  Interval: duration.optional(),
  Timeout: duration.optional(),
  DeregisterCriticalServiceAfter: duration.optional(),
});

/** A check of a registration, in Consul's names. */
export const checkRequestSchema = z.object({
  Node: z.union([nodeName, z.literal('')]).default(''),
  CheckID: itemId.default(''),
  Name: label.default(''),
  Status: z.string().max(32).default(''),
  Notes: z.string().max(4_096).default(''),
  Output: z.string().max(8_192).default(''),
  ServiceID: itemId.default(''),
  Type: z.string().max(32).default(''),
  Definition: definitionSchema.default({}),
});

/**
 * A check without the names of its service, which the state knows. CheckID defaults to Name, Status to critical (Consul).
 * @throws ConsulError 400
 */
export function toCheckRecord(node: string, request: z.infer<typeof checkRequestSchema>): CheckRecord {
  if (request.Node !== '' && request.Node !== node) {
    throw new ConsulError(
      400,
      `check's node name ${JSON.stringify(request.Node)} does not match ${JSON.stringify(node)}`,
    );
  }
  const id = request.CheckID === '' ? request.Name : request.CheckID;
  if (!itemId.min(1).safeParse(id).success) throw new ConsulError(400, 'Must provide CheckID or Name of a check');
  const { Status } = request;
  if (Status !== '' && Status !== 'passing' && Status !== 'warning' && Status !== 'critical') {
    throw new ConsulError(400, `Status ${JSON.stringify(Status)} is none of passing, warning, critical`);
  }
  return {
    Node: node,
    CheckID: id,
    Name: request.Name === '' ? id : request.Name,
    Status: Status === '' ? 'critical' : Status,
    Notes: request.Notes,
    Output: request.Output,
    ServiceID: request.ServiceID,
    ServiceName: '',
    ServiceTags: [],
    Type: request.Type === '' ? typeOf(request.Definition) : request.Type,
    Definition: request.Definition,
  };
}

function typeOf(definition: z.infer<typeof definitionSchema>): string {
  if (definition.HTTP) return 'http';
  if (definition.TCP) return 'tcp';
  if (definition.UDP) return 'udp';
  return definition.GRPC ? 'grpc' : '';
}
