import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Aliases } from '#policies/consul/go-json.ts';
import { judgePorts, localitySchema, type ServicePorts, servicePortsSchema } from '#policies/consul/service-ports.ts';
import { isServiceName } from '#policies/service-name.ts';
import {
  type CheckDefinition,
  checkAliases,
  checkSchema,
  isEmptyCheck,
  knownStatus,
  toCheckDefinition,
} from './check-definition.ts';

/** Most checks of one service, and tags and metadata pairs of it: the catalog's own bounds. */
export const maxChecksOfService = 64;
const port = z.int().min(0).max(65_535);
const printable = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII');
const address = z.object({ Address: printable(255).default(''), Port: port.default(0) });
const weight = (least: number) => z.int().min(least).max(65_535).default(1);

const fields = {
  Kind: z.string().max(64).default(''),
  ID: printable(200).default(''),
  Name: z.string().max(256).default(''),
  Tags: z.array(z.string().max(255)).max(128).default([]),
  Port: port.default(0),
  Ports: servicePortsSchema.optional(),
  Locality: localitySchema.optional(),
  Address: printable(255).default(''),
  SocketPath: z.string().max(256).default(''),
  TaggedAddresses: z.record(z.string().max(64), address).default({}),
  EnableTagOverride: z.boolean().default(false),
  Meta: z
    .record(printable(128), z.string().max(512))
    .refine((pairs) => Object.keys(pairs).length <= 64, 'holds more than 64 pairs')
    .default({}),
  Weights: z.object({ Passing: weight(1), Warning: weight(0) }).default({ Passing: 1, Warning: 1 }),
  Check: checkSchema.optional(),
  Checks: z.array(checkSchema).max(maxChecksOfService).default([]),
  Proxy: z
    .looseObject({
      DestinationServiceName: z.string().max(128).optional(),
      DestinationServiceID: printable(200).optional(),
      LocalServiceAddress: printable(255).optional(),
      LocalServicePort: port.optional(),
    })
    .optional(),
};
const sidecarSchema = z.object({
  ...fields,
  Connect: z.object({ SidecarService: z.unknown().optional() }).optional(),
});

/** Body of PUT /v1/agent/service/register, and what Agent.register takes: Consul's names. */
export const serviceSchema = z.object({
  ...fields,
  Connect: z.object({ Native: z.boolean().default(false), SidecarService: sidecarSchema.optional() }).optional(),
});
/** `Connect.SidecarService`: what a registration says of its sidecar. */
export type SidecarRequest = z.output<typeof sidecarSchema>;
/** A service in Consul's names, before defaults. */
export type ServiceRequest = z.input<typeof serviceSchema>;

export const serviceAliases: Aliases = {
  ...checkAliases,
  service_id: 'ServiceID',
  tagged_addresses: 'TaggedAddresses',
  enable_tag_override: 'EnableTagOverride',
  destination_service_name: 'DestinationServiceName',
  destination_service_id: 'DestinationServiceID',
  local_service_address: 'LocalServiceAddress',
  local_service_port: 'LocalServicePort',
  sidecar_service: 'SidecarService',
};

/** A service as the agent keeps it and tells the catalog: Consul's names of a read (`Service`, not `Name`). */
export interface LocalService {
  readonly Kind: '' | 'connect-proxy';
  readonly ID: string;
  readonly Service: string;
  readonly Tags: readonly string[];
  readonly Meta: Readonly<Record<string, string>>;
  readonly Port: number;
  readonly Ports?: ServicePorts;
  readonly Locality?: z.output<typeof localitySchema>;
  readonly Address: string;
  readonly TaggedAddresses: Readonly<Record<string, { readonly Address: string; readonly Port: number }>>;
  readonly Weights: { readonly Passing: number; readonly Warning: number };
  readonly EnableTagOverride: boolean;
  readonly Proxy?: Readonly<Record<string, unknown>> & { readonly DestinationServiceName?: string | undefined };
  readonly Connect?: { readonly Native: boolean };
}

/** A registration that holds together. */
export interface ServiceDefinition {
  readonly service: LocalService;
  readonly checks: readonly CheckDefinition[];
}

/** @throws ConsulError 400, or 501 for what Consul has and this agent does not */
export function toServiceDefinition(request: z.output<typeof serviceSchema>): ServiceDefinition {
  const { Kind, Name, Proxy: proxy, Connect, Check, Checks, SocketPath, Ports, Locality, ...plain } = request;
  if (Name === '') throw new ConsulError(400, 'Missing service name');
  if (!isServiceName(Name)) throw new ConsulError(400, `Invalid service name ${JSON.stringify(Name.slice(0, 128))}`);
  if (Kind !== '' && Kind !== 'connect-proxy')
    throw new ConsulError(501, `Services of kind ${JSON.stringify(Kind)} are not offered`);
  if (SocketPath !== '') throw new ConsulError(501, 'SocketPath is not offered');
  if (Kind === 'connect-proxy') requireProxy(proxy?.DestinationServiceName ?? '', plain.Port, Connect?.Native ?? false);
  judgePorts(Ports ?? []);
  const { ID, ...rest } = plain;
  const service: LocalService = {
    Kind,
    ID: ID || Name,
    Service: Name,
    ...rest,
    ...(Ports === undefined || Ports.length === 0 ? {} : { Ports }),
    ...(Locality === undefined ? {} : { Locality }),
    ...(Kind === 'connect-proxy' && proxy !== undefined ? { Proxy: proxy } : {}),
    ...(Connect?.Native === true ? { Connect: { Native: true } } : {}),
  };
  const requests = Check === undefined || isEmptyCheck(Check) ? Checks : [Check, ...Checks];
  if (requests.length > maxChecksOfService)
    throw new ConsulError(400, `More than ${maxChecksOfService} checks of one service`);
  const checks = requests.map((check, position) => {
    const suffix = requests.length > 1 ? `:${position + 1}` : '';
    const defaults = { id: `service:${service.ID}${suffix}`, name: `Service '${Name}' check` };
    if (check.Status !== '') knownStatus(check.Status, "Status for checks must 'passing', 'warning', 'critical'");
    return { ...toCheckDefinition(check, defaults), serviceId: service.ID };
  });
  if (new Set(checks.map((check) => check.id)).size < checks.length)
    throw new ConsulError(400, 'A CheckID is given twice');
  return { service, checks };
}

/** The service whose SVID speaks for this one to the catalog: itself, or the one that it is a proxy of. */
export function identityOf(service: LocalService): string {
  return service.Kind === 'connect-proxy'
    ? (service.Proxy?.DestinationServiceName ?? service.Service)
    : service.Service;
}

function requireProxy(destination: string, port: number, native: boolean): void {
  if (!isServiceName(destination)) {
    throw new ConsulError(400, 'Proxy.DestinationServiceName must be the name of a service for Connect proxy services');
  }
  if (port === 0) throw new ConsulError(400, 'Port or SocketPath must be set for a Connect proxy');
  if (native) throw new ConsulError(400, 'A Proxy cannot also be Connect Native, only typical services');
}
