import { type SpiffeId, serviceIdentityOf, type TrustDomain, trustDomainOf } from '#policies/spiffe-id.ts';

/**
 * What the catalog proves itself by: the SVID of `/svc/selvedge-catalog` (blueprint section 6), of the own trust domain. One that the mesh federates with has a
 * catalog of the same name, which is not ours.
 * @returns an `expect` for meshRequest; keep it, so that connections are shared
 */
export function isCatalogOf(own: TrustDomain | undefined): (id: SpiffeId) => boolean {
  return (id) => serviceIdentityOf(id)?.service === 'selvedge-catalog' && trustDomainOf(id) === own;
}
