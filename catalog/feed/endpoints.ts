import { serviceSpiffeId, type TrustDomain } from '#policies/spiffe-id.ts';
import type { FeedEndpoint } from '#policies/wire/feed.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { aggregate } from '../state/checks.ts';
import type { ServiceInstance } from '../state/services.ts';

/** Where the identities of a catalog's services are. */
export interface IdentityPlace {
  readonly trustDomain: TrustDomain;
  readonly datacenter: string;
}

/** Which instances are told of, and what. */
export interface EndpointChoice {
  /** Whether an instance is one of those meant; absent: all are. */
  readonly belongs?: (instance: ServiceInstance, status: FeedEndpoint['status']) => boolean;
  /** Tell where they are. */
  readonly locality?: boolean;
}

/**
 * Where callers of a service may go: the proxies that stand before it, and its instances that speak mesh themselves. An endpoint is as well as the
 * worst of: the checks of the proxy, of the instance that it stands before, and of the node.
 */
export function endpointsOf(
  state: CatalogState,
  service: string,
  place: IdentityPlace,
  choice: EndpointChoice = {},
): FeedEndpoint[] {
  const { belongs = () => true, locality = false } = choice;
  const spiffeId = serviceSpiffeId({ ...place, namespace: 'default', service });
  return state.services.inMesh(service).flatMap((instance) => {
    const { record } = instance;
    const node = state.nodes.get(record.Node);
    if (node === undefined) return [];
    const status = statusOf(state, instance);
    if (!belongs(instance, status)) return [];
    return [
      {
        id: `${record.Node}/${record.ID}`,
        node: record.Node,
        address: record.Address === '' ? node.record.Address : record.Address,
        port: record.Port,
        spiffeId,
        status,
        weight: status === 'passing' ? record.Weights.Passing : record.Weights.Warning,
        ...(locality ? localityOf(state, instance) : {}),
      },
    ];
  });
}

/** Where the proxy is, else the application, else the node. */
function localityOf(state: CatalogState, { record }: ServiceInstance): Pick<FeedEndpoint, 'locality'> {
  const application = state.services.get(record.Node, record.Proxy.DestinationServiceID ?? '')?.record;
  const said = record.Locality ?? application?.Locality ?? state.nodes.get(record.Node)?.record.Locality;
  return said === undefined ? {} : { locality: { region: said.Region, zone: said.Zone } };
}

function statusOf(state: CatalogState, { record }: ServiceInstance): FeedEndpoint['status'] {
  const parent = record.Kind === 'connect-proxy' ? (record.Proxy.DestinationServiceID ?? '') : '';
  const own = state.checks.ofInstance(record.Node, record.ID);
  return aggregate(parent === '' ? own : [...own, ...state.checks.ofInstance(record.Node, parent)]);
}
