import { MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import type { Clock } from '#runtime/clock.ts';
import type { VaultConnection } from '../vault/connection.ts';
import { caErrorOf } from '../vault/failure.ts';
import { readSignedChain } from '../vault/issuer.ts';
import { vaultPath } from '../vault/vault-path.ts';
import { requestIssuingCa } from '../x509-authority.ts';
import { type CertifiedAuthority, verifyIssuingCa } from './verify-issuing-ca.ts';

/**
 * Has Vault certify a new issuing CA: `POST <root mount>/root/sign-intermediate`, the one call that this mode needs a policy for. What comes back is
 * verified before it is believed.
 *
 * @returns the CA with its key, and Vault's request id
 * @throws MeshError SLV-2140, SLV-2141, SLV-2144, SLV-2145 as Vault refuses, SLV-2142 when something else came back
 */
export async function certifyIssuingCa(
  { transport, session }: Pick<VaultConnection, 'transport' | 'session'>,
  order: {
    readonly rootMount: string;
    readonly issuerRef: string;
    readonly trustDomain: TrustDomain;
    /** The pinned roots, DER. */
    readonly roots: readonly Uint8Array[];
    readonly ttlSeconds: number;
  },
  clock: Clock,
  signal: AbortSignal,
): Promise<{ authority: CertifiedAuthority; reference: string }> {
  const { rootMount, issuerRef, trustDomain, ttlSeconds } = order;
  const { key, csrPem } = await requestIssuingCa(trustDomain);
  // Name and SPIFFE ID are taken from the request; Vault has no other way to put a URI on a CA.
  const body = {
    csr: csrPem,
    use_csr_values: true,
    max_path_length: 0,
    issuer_ref: issuerRef,
    ttl: `${ttlSeconds}s`,
    exclude_cn_from_sans: true,
    format: 'pem',
  };
  const path = vaultPath(rootMount, 'root', 'sign-intermediate');
  try {
    const reply = await session.call((token) => transport.write(path, body, { token, signal }));
    const [certificateDer, ...above] = readSignedChain(reply.data);
    if (certificateDer === undefined) throw new MeshError('SLV-2142', 'Vault returned no certificate.');
    const authority = { certificateDer, key, above };
    await verifyIssuingCa(authority, { ...order, nowMs: clock() });
    return { authority, reference: reply.requestId };
  } catch (error) {
    throw caErrorOf(error, 'certify an issuing CA');
  }
}
