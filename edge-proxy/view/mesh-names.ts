import { MeshError } from '#policies/errors/mesh-error.ts';
import { isServiceName } from '#policies/service-name.ts';
import type { FeedMeshNames } from '#policies/wire/feed.ts';

/** A service, the address that stands for it in the mesh, and the ports at which its applications serve. */
export type MeshName = FeedMeshNames['services'][number];

/** 127.64.0.0/10 */
const meshAddress = /^127\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d{1,3}\.\d{1,3}$/;

/** The names, when each can be listened for: a catalog does not choose where else this host listens. Throws SLV-5006. */
export function listenable(resource: FeedMeshNames): readonly MeshName[] {
  for (const { service, address, ports } of resource.services) {
    if (!isServiceName(service)) throw new MeshError('SLV-5006', 'a name that is not that of a service');
    if (!meshAddress.test(address)) throw new MeshError('SLV-5006', `${service} has no address of 127.64.0.0/10`);
    if (!ports.every((port) => Number.isInteger(port) && port > 0 && port <= 65_535))
      throw new MeshError('SLV-5006', `${service} has a port that is none`);
  }
  return resource.services;
}
