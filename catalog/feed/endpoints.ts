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

/**
 * Where callers of a service may go: the proxies that stand before it, and its instances that speak mesh themselves. An endpoint is as well as the
 * worst of: the checks of the proxy, of the instance that it stands before, and of the node.
 *
 * @param belongs whether an instance is one of those meant
 */
export function endpointsOf(
  state: CatalogState,
  service: string,
  place: IdentityPlace,
  belongs: (instance: ServiceInstance, status: FeedEndpoint['status']) => boolean = () => true,
): FeedEndpoint[] {
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
      },
    ];
  });
}

function statusOf(state: CatalogState, { record }: ServiceInstance): FeedEndpoint['status'] {
  const parent = record.Kind === 'connect-proxy' ? (record.Proxy.DestinationServiceID ?? '') : '';
  const own = state.checks.ofInstance(record.Node, record.ID);
  return aggregate(parent === '' ? own : [...own, ...state.checks.ofInstance(record.Node, parent)]);
}
