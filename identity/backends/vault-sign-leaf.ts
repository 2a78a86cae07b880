import { MeshError } from '#policies/errors/mesh-error.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import type { SignedChain, SigningOrder } from '../ca-backend.ts';
import { outliving, pinOfSigner, readSignedChain } from '../vault/issuer.ts';
import type { VaultCall, VaultTransport } from '../vault/transport.ts';

/**
 * Has Vault sign one leaf. The names in the request are never used (role: use_csr_sans=false), the ID is ours; without uri_sans Vault would sign a leaf with
 * no name. What comes back is not to be trusted before verify-issued.ts has looked at it.
 *
 * @param path `<mount>/issuer/<issuer>/sign/<role>`
 * @throws VaultError; MeshError SLV-2142 when the answer is not of the known form
 */
export async function signLeafInVault(
  transport: VaultTransport,
  path: string,
  order: SigningOrder,
  call: VaultCall,
): Promise<SignedChain> {
  const body = {
    csr: order.request.pem,
    uri_sans: order.spiffeId,
    // Names that are no host names Vault would take for mail addresses; issuance.ts lets none pass.
    ...(order.dnsSans === undefined || order.dnsSans.length === 0 ? {} : { alt_names: order.dnsSans.join(',') }),
    ttl: `${order.ttlSeconds}s`,
    exclude_cn_from_sans: true,
    format: 'pem',
  };
  const reply = await transport.write(path, body, call);
  const [leaf, ...above] = readSignedChain(reply.data);
  if (leaf === undefined) throw new MeshError('SLV-2142', 'Vault returned no certificate.');
  const [issuing] = above;
  const chain = [leaf, ...outliving(above, readCertificate(leaf).notAfterMs)];
  return { chain, reference: reply.requestId, ...(issuing === undefined ? {} : { issuer: pinOfSigner(issuing) }) };
}
