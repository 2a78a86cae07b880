import { createPrivateKey } from 'node:crypto';
import { CompactSign } from 'jose';
import { formatSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import { signedBundleType } from '#policies/wire/signed-bundle.ts';
import { certificatesOfPem } from './pem.ts';
import type { Svid } from './svid.ts';

/** What is not to be trusted although its chain verifies. */
export interface Revocations {
  /** Lower-case hex, as in LeafFacts. */
  readonly serials: readonly string[];
  readonly spiffeIds: readonly string[];
}

/**
 * Signs a trust bundle and revocation list as identity does (policies/wire/signed-bundle.ts). `bundle.sequence` must grow with every change of either:
 * receivers never go back. The result is accepted for as long as the signing SVID is valid, so sign again after each of its renewals.
 *
 * @param signed.svid the SVID of `/svc/selvedge-identity`, EC P-256
 * @returns compact JWS
 */
export function signBundle(signed: {
  bundle: TrustBundle;
  revoked: Revocations;
  /** Bundles of other trust domains, carried along. */
  federated?: readonly TrustBundle[];
  /** Authorities whose SVIDs are to be renewed at once: lower-case hex SHA-256 of their SubjectPublicKeyInfo. */
  tainted?: readonly string[];
  svid: Svid;
  nowMs: number;
}): Promise<string> {
  const { bundle, revoked, federated = [], tainted = [], svid, nowMs } = signed;
  const payload = {
    trust_domain: bundle.trustDomain,
    iat: Math.floor(nowMs / 1_000),
    bundle: formatSpiffeBundle(bundle),
    federated: federated.map((foreign) => ({
      trust_domain: foreign.trustDomain,
      bundle: formatSpiffeBundle(foreign),
    })),
    revoked: { serials: revoked.serials, spiffe_ids: revoked.spiffeIds },
    tainted,
  };
  return new CompactSign(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({
      alg: 'ES256',
      typ: signedBundleType,
      x5c: certificatesOfPem(svid.chainPem).map((der) => Buffer.from(der).toString('base64')),
    })
    .sign(createPrivateKey(svid.keyPem));
}
