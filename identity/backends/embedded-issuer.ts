import { MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { isSignedWith } from '#runtime/svid/signed-der.ts';
import type { Authority } from '../x509-authority.ts';
import type { AuthorityRole } from './authority-files.ts';
import { type InProcessIssuer, inProcessIssuer } from './in-process-issuer.ts';

/** An issuing CA of the embedded backend, ready to sign. */
export interface Issuer extends InProcessIssuer {
  /** Its root certified by the one before it. */
  readonly cross: { readonly der: Uint8Array; readonly notAfterMs: number } | undefined;
}

/** @param cross DER in base64 */
export function issuerOf(issuing: Authority, cross: string | undefined): Issuer {
  const crossDer = cross === undefined ? undefined : new Uint8Array(Buffer.from(cross, 'base64'));
  return {
    ...inProcessIssuer(issuing),
    cross: crossDer && { der: crossDer, notAfterMs: readCertificate(crossDer).notAfterMs },
  };
}

/** @throws MeshError SLV-2143 when it is not a CA of this trust domain */
export function requireOfTrustDomain(authority: Authority, trustDomain: TrustDomain, role: AuthorityRole): Authority {
  const { isCa, uriSans } = readCertificate(authority.certificateDer);
  const [name] = uriSans;
  if (!isCa || uriSans.length !== 1 || name !== `spiffe://${trustDomain}`) {
    throw unusable(role, `it is a CA of ${name ?? 'no trust domain'}, this service is of spiffe://${trustDomain}`);
  }
  return authority;
}

/** @throws MeshError SLV-2143 */
export function requireSignedBy(issuing: Authority, root: Authority): void {
  const signed = readCertificateLink(issuing.certificateDer);
  if (!isSignedWith(signed.signature, readCertificateLink(root.certificateDer).key)) {
    throw unusable('issuing', 'it was not signed by the root beside it');
  }
}

/** SLV-2143 about a CA of the data directory. */
export function unusable(role: AuthorityRole, flaw: string): MeshError {
  return new MeshError('SLV-2143', `The ${role} CA of the data directory can not be used: ${flaw}.`);
}
