import { isIP } from 'node:net';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, serviceIdentityOf, type TrustDomain } from '#policies/spiffe-id.ts';
import type { FeedEndpoint } from '#policies/wire/feed.ts';

/**
 * Why an instance that the catalog names is not called. The catalog finds instances; who must answer there is not the instance's entry to say: one whose SPIFFE ID
 * is not that of the service would lead calls of `db` to another member of the mesh. (Config entries may, in the open: policies/wire/feed-routing.ts.) A host name would have the data path wait on DNS (invariant 4).
 *
 * @returns undefined: it may be called
 */
export function endpointFlaw(entry: FeedEndpoint, upstream: string, trustDomain: TrustDomain): string | undefined {
  if (isIP(entry.address) === 0) return `its address ${JSON.stringify(entry.address.slice(0, 80))} is no IP address`;
  if (!Number.isInteger(entry.port) || entry.port < 1 || entry.port > 65_535) return `its port ${entry.port} is none`;
  try {
    const id = parseSpiffeId(entry.spiffeId);
    const identity = serviceIdentityOf(id);
    if (identity?.service === upstream && identity.namespace === 'default' && identity.trustDomain === trustDomain)
      return undefined;
    return `${id} is not the identity of ${upstream} in ${trustDomain}`;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return error.message;
  }
}
