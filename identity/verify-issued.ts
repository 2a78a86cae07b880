import { toPem } from '#policies/der-writer.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type TrustDomain, trustDomainOf } from '#policies/spiffe-id.ts';
import { extendedKeyUsageOid, readCertificate, svidIdOf } from '#policies/svid-leaf.ts';
import { linkOfKnownKey } from '#runtime/svid/certificate-link.ts';
import { readKnownLink, verifySignatureAhead } from '#runtime/svid/known-certificates.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { clockSkewMs, verifyChain } from '#runtime/svid/verify-peer.ts';
import type { SignedChain, SigningOrder } from './ca-backend.ts';

/** A chain that may leave the service. */
export interface VerifiedIssue {
  /** PEM: the leaf, then the intermediates up to, not including, the root. */
  readonly chainPem: string;
  /** Lower-case hex. */
  readonly serialHex: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/**
 * Looks at what a CA returned before it leaves (invariant 2): exactly the asked ID and DNS names and no other, the request's key, no CA, no longer a life than
 * asked, and a chain that a peer would accept under our own roots. Backends are not trusted to have done as told: a role of Vault can be changed.
 *
 * The leaf's signature is verified beside the other orders of this process, for it is what costs.
 *
 * @param roots the trust anchors of `trustDomain`, DER
 * @throws MeshError SLV-2142 naming the difference
 */
export async function verifyIssued(
  signed: SignedChain,
  order: SigningOrder,
  roots: readonly Uint8Array[],
  nowMs: number,
): Promise<VerifiedIssue> {
  const [leafDer, ...signerDers] = signed.chain;
  if (leafDer === undefined) throw differs('it returned no certificate');
  const trustDomain = trustDomainOf(order.spiffeId);
  return attempt(async () => {
    const leaf = readCertificate(leafDer);
    const id = svidIdOf(leaf);
    if (id !== order.spiffeId) throw differs(`the certificate is for ${id}, asked was ${order.spiffeId}`);
    const asked = new Set(order.dnsSans);
    if (leaf.otherSanCount > 0 || leaf.dnsSans.some((name) => !asked.has(name)))
      throw differs('the certificate holds names that were not asked for');
    if (leaf.dnsSans.length !== asked.size || new Set(leaf.dnsSans).size !== asked.size)
      throw differs('the certificate does not hold each DNS name that was asked for, once');
    if (!Buffer.from(leaf.spkiDer).equals(order.request.spkiDer)) throw differs('the certificate is for another key');
    const uses = leaf.extendedKeyUsage ?? [];
    if (!Object.values(extendedKeyUsageOid).every((use) => uses.includes(use))) {
      throw differs('the certificate is not for both server and client authentication');
    }
    if (leaf.notAfterMs > nowMs + order.ttlSeconds * 1_000 + clockSkewMs) {
      throw differs(`the certificate is valid until ${iso(leaf.notAfterMs)}, asked were ${order.ttlSeconds} s`);
    }
    if (leaf.notAfterMs <= nowMs) throw differs(`the certificate has ended already, at ${iso(leaf.notAfterMs)}`);
    if (leaf.notBeforeMs > nowMs + clockSkewMs)
      throw differs(`the certificate begins at ${iso(leaf.notBeforeMs)} only`);
    const signers = signerDers.map(readKnownLink);
    const signerEndMs = Math.min(...signers.map(({ facts }) => facts.notAfterMs));
    if (leaf.notAfterMs > signerEndMs) throw differs('the certificate outlives a CA above it');
    const link = linkOfKnownKey(leafDer, leaf, order.request);
    const signer = signers.find(({ subject }) => subject.equals(link.issuer));
    if (signer !== undefined) await verifySignatureAhead(link, signer);
    verifyChain({ chain: signed.chain, leaf: link, trust: trustIn(trustDomain, roots), nowMs });
    return {
      chainPem: signed.chain.map((der) => toPem('CERTIFICATE', der)).join(''),
      serialHex: leaf.serialHex,
      notBeforeMs: leaf.notBeforeMs,
      notAfterMs: leaf.notAfterMs,
    };
  });
}

/** One for each set of roots, so that the verifier parses them once. */
const trusts = new WeakMap<readonly Uint8Array[], TrustSource>();

/** Trust in the given roots of one trust domain, and in nothing else. A backend's roots are one array for its life, of one trust domain. */
function trustIn(trustDomain: TrustDomain, x509Authorities: readonly Uint8Array[]): TrustSource {
  const known = trusts.get(x509Authorities);
  if (known?.own === trustDomain) return known;
  const bundle = { trustDomain, sequence: 0, refreshHintSeconds: 0, x509Authorities, jwtAuthorities: [] };
  const trust: TrustSource = {
    bundleOf: (asked) => (asked === trustDomain ? bundle : undefined),
    isRevoked: () => false,
    onChange: () => () => undefined,
    own: trustDomain,
  };
  trusts.set(x509Authorities, trust);
  return trust;
}

/** Whatever rule a certificate broke, it was the CA that broke it: the requester has done nothing wrong. */
async function attempt<T>(check: () => Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (cause) {
    if (!(cause instanceof MeshError) || cause.code === 'SLV-2142') throw cause;
    throw differs(cause.message.replace(/\.$/, ''), cause);
  }
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function differs(what: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2142', `The CA did not do what was asked: ${what}.`, { cause });
}
