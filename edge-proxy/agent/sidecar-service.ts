import { ConsulError } from '#policies/consul/consul-error.ts';
import { type CheckRequest, checkSchema, isEmptyCheck } from './check-definition.ts';
import { formatHostPort, type HostPort } from './checks/host-port.ts';
import {
  type LocalService,
  type ServiceDefinition,
  type SidecarRequest,
  toServiceDefinition,
} from './service-definition.ts';

/** Ports that sidecars without one get (Consul's sidecar_min_port and sidecar_max_port). */
const [firstPort, lastPort] = [21_000, 21_255];

/** @returns the id of the sidecar that is registered along with an instance */
export function sidecarIdOf(serviceId: string): string {
  return `${serviceId}-sidecar-proxy`;
}

/** What a sidecar needs to know of those that are there. */
export interface KnownServices {
  readonly services: ReadonlyMap<string, LocalService>;
  isOwn(key: `service/${string}`): boolean;
}

/**
 * The sidecar that `Connect.SidecarService` of a registration stands for, with Consul's defaults: name, tags, metadata and address of its service, a port that no
 * service of this agent has, a check of the port and one that follows the service. Undefined where none is asked for, and where this edge proxy is the sidecar.
 * @throws ConsulError 400 in Consul's words; 500 when all ports are taken
 */
export function sidecarOf(
  service: LocalService,
  request: SidecarRequest | undefined,
  known: KnownServices,
): ServiceDefinition | undefined {
  if (request === undefined) return undefined;
  if (request.ID !== '')
    throw new ConsulError(
      400,
      'Validation failed: A SidecarService cannot specify an ID as this is managed by the agent',
    );
  if (request.Connect?.SidecarService !== undefined)
    throw new ConsulError(400, 'Validation failed: A SidecarService cannot have a nested SidecarService');
  const id = sidecarIdOf(service.ID);
  if (known.services.has(id) && known.isOwn(`service/${id}`)) return undefined;
  const { Proxy: proxy, Check, Checks } = request;
  const Address = request.Address || service.Address;
  const Port = request.Port || freePort(id, known.services);
  const localAddress = proxy?.LocalServiceAddress || '127.0.0.1';
  const isChecked = Checks.length > 0 || (Check !== undefined && !isEmptyCheck(Check));
  return toServiceDefinition({
    ...request,
    Kind: request.Kind || 'connect-proxy',
    ID: id,
    Name: request.Name || `${service.Service}-sidecar-proxy`,
    Tags: request.Tags.length > 0 ? request.Tags : [...service.Tags],
    Meta: Object.keys(request.Meta).length > 0 ? request.Meta : { ...service.Meta },
    Address,
    Port,
    Proxy: {
      ...proxy,
      DestinationServiceName: proxy?.DestinationServiceName || service.Service,
      DestinationServiceID: proxy?.DestinationServiceID || service.ID,
      LocalServiceAddress: localAddress,
      LocalServicePort: proxy?.LocalServicePort || service.Port,
    },
    Connect: undefined,
    Checks: isChecked ? Checks : defaultChecks(service.ID, { host: Address || localAddress, port: Port }),
  });
}

/** The port that the sidecar has if it has one of these, else the lowest that no service here has. */
function freePort(id: string, services: ReadonlyMap<string, LocalService>): number {
  const before = services.get(id)?.Port ?? 0;
  if (before >= firstPort && before <= lastPort) return before;
  const taken = new Set([...services.values()].map(({ Port }) => Port));
  for (let port = firstPort; port <= lastPort; port++) if (!taken.has(port)) return port;
  throw new ConsulError(
    500,
    `no port provided for sidecar_service and none left in the configured range [${firstPort}, ${lastPort}]`,
  );
}

function defaultChecks(serviceId: string, listening: HostPort): CheckRequest[] {
  return [
    { Name: 'Connect Sidecar Listening', TCP: formatHostPort(listening), Interval: '10s' },
    { Name: `Connect Sidecar Aliasing ${serviceId}`, AliasService: serviceId },
  ].map((check) => checkSchema.parse(check));
}
