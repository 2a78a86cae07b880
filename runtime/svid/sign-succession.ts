import { createPrivateKey } from 'node:crypto';
import { CompactSign } from 'jose';
import { formatSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import { successionType } from '#policies/wire/succession.ts';
import { certificatesOfPem } from './pem.ts';
import type { Svid } from './svid.ts';

/**
 * Signs one step of a succession (policies/wire/succession.ts): the roots of `bundle` follow on those that `svid` hangs on.
 *
 * @param step.svid the SVID of `/svc/selvedge-identity` under the roots of before, EC P-256
 * @returns compact JWS
 */
export function signSuccession(step: { bundle: TrustBundle; svid: Svid; nowMs: number }): Promise<string> {
  const { bundle, svid, nowMs } = step;
  const payload = {
    trust_domain: bundle.trustDomain,
    iat: Math.floor(nowMs / 1_000),
    bundle: formatSpiffeBundle({ ...bundle, jwtAuthorities: [] }),
  };
  return new CompactSign(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({
      alg: 'ES256',
      typ: successionType,
      x5c: certificatesOfPem(svid.chainPem).map((der) => Buffer.from(der).toString('base64')),
    })
    .sign(createPrivateKey(svid.keyPem));
}
