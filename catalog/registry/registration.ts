import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { judgePorts, localitySchema, servicePortsSchema } from '#policies/consul/service-ports.ts';
import type { CheckRecord } from '../state/checks.ts';
import type { ServiceRecord } from '../state/services.ts';
import { checkRequestSchema, toCheckRecord } from './check-request.ts';
import { hostAddress, itemId, metadata, nodeName, port, serviceName, tags } from './names.ts';

const taggedAddress = z.object({ Address: hostAddress.default(''), Port: port.default(0) });

/** Others are taken for none, as Consul does: its Go client sends zeroes where its caller gave none. */
function areWeights({ Passing, Warning }: { readonly Passing: number; readonly Warning: number }): boolean {
  return Passing >= 1 && Passing <= 65_535 && Warning >= 0 && Warning <= 65_535;
}

/** The `Service` of a registration, in Consul's names; what Consul has and Selvedge does not is ignored, as unknown fields are. */
export const serviceRequestSchema = z.object({
  Kind: z.string().max(64).default(''),
  ID: itemId.default(''),
  Service: z.string().default(''),
  Tags: tags.default([]),
  Address: hostAddress.default(''),
  TaggedAddresses: z.record(z.string().max(64), taggedAddress).default({}),
  Meta: metadata.default({}),
  Port: port.default(0),
  Ports: servicePortsSchema.optional(),
  Locality: localitySchema.optional(),
  Weights: z
    .object({ Passing: z.int().default(0), Warning: z.int().default(0) })
    .default({ Passing: 1, Warning: 1 })
    .transform((given) => (areWeights(given) ? given : { Passing: 1, Warning: 1 })),
  EnableTagOverride: z.boolean().default(false),
  Proxy: z
    .looseObject({ DestinationServiceName: z.string().optional(), DestinationServiceID: itemId.optional() })
    .default({}),
  Connect: z.object({ Native: z.boolean().optional() }).default({}),
});

/** Body of PUT /v1/catalog/register. */
export const registrationSchema = z.object({
  ID: z
    .string()
    .max(64)
    .regex(/^[0-9A-Za-z-]*$/, 'is not a UUID')
    .default(''),
  Node: nodeName,
  Address: hostAddress.default(''),
  TaggedAddresses: z.record(z.string().max(64), hostAddress).default({}),
  NodeMeta: metadata.default({}),
  Datacenter: z.string().max(128).default(''),
  Service: serviceRequestSchema.optional(),
  Check: checkRequestSchema.optional(),
  Checks: z.array(checkRequestSchema).max(64).default([]),
  Locality: localitySchema.optional(),
  SkipNodeUpdate: z.boolean().default(false),
});
export type RegistrationRequest = z.infer<typeof registrationSchema>;

/** A registration that holds together: what to store, but for what depends on the state. */
export interface Registration {
  readonly node: {
    readonly name: string;
    /** Empty: made from the name. */
    readonly id: string;
    readonly address: string;
    readonly taggedAddresses: Readonly<Record<string, string>>;
    readonly meta: Readonly<Record<string, string>>;
    readonly locality: z.output<typeof localitySchema> | undefined;
    readonly skipUpdate: boolean;
  };
  readonly service: ServiceRecord | undefined;
  readonly checks: readonly CheckRecord[];
}

/**
 * Applies Consul's rules that span fields.
 * @throws ConsulError 400 in Consul's words; 500 for another datacenter
 */
export function toRegistration(request: RegistrationRequest, datacenter: string): Registration {
  if (request.Datacenter !== '' && request.Datacenter !== datacenter)
    throw new ConsulError(500, 'No path to datacenter');
  if (request.Address === '' && !request.SkipNodeUpdate) throw new ConsulError(400, 'Must provide node and address');
  const service = request.Service === undefined ? undefined : toServiceRecord(request.Node, request.Service);
  const requests = request.Check === undefined ? request.Checks : [request.Check, ...request.Checks];
  const checks = requests.map((check) => toCheckRecord(request.Node, check));
  const ids = new Set(checks.map(({ CheckID }) => CheckID));
  if (ids.size < checks.length) throw new ConsulError(400, 'A CheckID is given twice');
  return {
    node: {
      name: request.Node,
      id: request.ID,
      address: request.Address,
      taggedAddresses: request.TaggedAddresses,
      meta: request.NodeMeta,
      locality: request.Locality,
      skipUpdate: request.SkipNodeUpdate,
    },
    service,
    checks,
  };
}

/** @throws ConsulError 400 in Consul's words */
export function toServiceRecord(node: string, request: z.infer<typeof serviceRequestSchema>): ServiceRecord {
  const { Kind, Connect } = request;
  if (request.Service === '') {
    throw new ConsulError(400, 'Must provide service name (Service.Service) when service ID is provided');
  }
  requireServiceName(request.Service, 'Service.Service');
  judgePorts(request.Ports ?? []);
  if (Kind !== '' && Kind !== 'connect-proxy')
    throw new ConsulError(400, `Service.Kind ${JSON.stringify(Kind)} is not supported`);
  if (Kind === 'connect-proxy') {
    const destination = request.Proxy.DestinationServiceName ?? '';
    if (destination === '') {
      throw new ConsulError(400, 'Proxy.DestinationServiceName must be non-empty for Connect proxy services');
    }
    if (destination === '*') {
      throw new ConsulError(400, 'Proxy.DestinationServiceName must not be a wildcard for Connect proxy services');
    }
    requireServiceName(destination, 'Proxy.DestinationServiceName');
    if (request.Port === 0) throw new ConsulError(400, 'Port or SocketPath must be set for a Connect proxy');
    if (Connect.Native === true)
      throw new ConsulError(400, 'A Proxy cannot also be Connect Native, only typical services');
  }
  return { ...request, Kind, Node: node, ID: request.ID === '' ? request.Service : request.ID };
}

function requireServiceName(name: string, field: string): void {
  if (!serviceName.safeParse(name).success) throw new ConsulError(400, `${field} is not a valid service name`);
}
