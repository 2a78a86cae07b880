import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Route } from './route-table.ts';

/**
 * What Consul has and this catalog has not: known by name and refused with a 501 that says what to do instead, so that nobody takes it for a
 * mistyped path. Mounted last: a route that is offered goes before.
 */
const areas: readonly (readonly [paths: readonly string[], instead: string])[] = [
  [
    ['/v1/acl/*'],
    'Of the ACLs only tokens are offered, with roles of their own in the place of policies and auth methods: docs/tokens.md',
  ],
  [['/v1/session/*'], 'Sessions and locks are not offered: ?cas= of /v1/kv writes only what nobody else has changed'],
  [['/v1/query', '/v1/query/*'], 'Prepared queries are not offered: read /v1/health/service or /v1/health/connect'],
  [['/v1/coordinate/*'], 'There are no network coordinates; ?near= leaves the order as it is'],
  [['/v1/snapshot'], 'The store of the catalog is backed up, not its API: docs/operations.md'],
  [['/v1/operator/*'], 'There is no Raft here to operate: GET /readyz and /metrics say how the catalog is'],
  [
    ['/v1/peering/*', '/v1/peerings'],
    'Cluster peering is not offered: trust between meshes is federation of SPIFFE trust domains',
  ],
  [
    ['/v1/exported-services', '/v1/imported-services'],
    'Cluster peering is not offered, so nothing is exported or imported',
  ],
  [['/v1/internal/*'], 'The internal endpoints of Consul and its UI are not offered'],
];

/** 501 for every endpoint of Consul that is not offered. */
export const notOfferedRoutes: readonly Route[] = areas.flatMap(([paths, instead]) =>
  paths.map((path): Route => {
    const refuse = (): never => {
      throw new ConsulError(501, instead);
    };
    return { path, methods: { GET: refuse, PUT: refuse, POST: refuse, DELETE: refuse } };
  }),
);
