import type { TLSSocket } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type SpiffeId, trustDomainOf } from '#policies/spiffe-id.ts';
import { extendedKeyUsageOid, svidIdOf } from '#policies/svid-leaf.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import { type CertificateLink, maxCertificateBytes, readCertificateLink } from './certificate-link.ts';
import { findCertificatePath, flawOfTime, iso, type PathFlaw, validity } from './certificate-path.ts';
import { readKnownLink, rememberLink } from './known-certificates.ts';
import type { TrustSource } from './trust.ts';

export { clockSkewMs } from './certificate-path.ts';

/** A peer whose chain and leaf have passed every rule. The only thing that lets bytes flow. */
export interface VerifiedPeer {
  readonly spiffeId: SpiffeId;
  /** The connection must not outlive this. */
  readonly notAfterMs: number;
  /** Lower-case hex, for revocation and logs. */
  readonly serialHex: string;
}

/** The rule that a refused chain broke: `detail.rule` of SLV-2020. */
export type PeerFlaw =
  | 'no-certificate'
  | 'resumed-session'
  | 'too-many-certificates'
  | 'certificate-too-large'
  | 'malformed-certificate'
  | 'not-an-svid'
  | 'unknown-trust-domain'
  | 'not-yet-valid'
  | 'expired'
  | 'revoked'
  | PathFlaw;

/** A signer that is limited to other uses than these signs no SVID. */
const svidUses = Object.values(extendedKeyUsageOid);
/** Certificates that a peer may send. */
const maxSentCertificates = 16;

/**
 * THE verifier of X.509-SVIDs (invariant 3): RFC 5280 6.1 with the roots of the leaf's own trust domain and of no other, and every rule of SPIFFE
 * X509-SVID 5. A path is searched through what the peer sent, so the order after the leaf does not matter (RFC 8446 4.4.2).
 *
 * @param input.chain leaf first, DER, as the peer sent it
 * @param input.leaf the first of `chain`, where the caller has read it already
 * @throws MeshError SLV-2020 with the broken rule in `detail.rule`
 */
export function verifyChain(input: {
  chain: readonly Uint8Array[];
  leaf?: CertificateLink;
  trust: TrustSource;
  nowMs: number;
}): VerifiedPeer {
  const { chain, trust, nowMs } = input;
  if (chain.length > maxSentCertificates) {
    throw refused(
      'too-many-certificates',
      `it sent ${chain.length} certificates, over the limit of ${maxSentCertificates}`,
    );
  }
  const [leaf, ...sent] = chain.map((der, position) =>
    position === 0 && input.leaf !== undefined ? input.leaf : readSent(der, position),
  );
  if (leaf === undefined) throw refused('no-certificate', 'it presented no certificate');
  const spiffeId = idOfLeaf(leaf);
  const bundle = trust.bundleOf(trustDomainOf(spiffeId));
  if (bundle === undefined)
    throw refused('unknown-trust-domain', `there is no bundle of the trust domain of ${spiffeId}`, spiffeId);
  const time = flawOfTime(leaf, nowMs);
  if (time !== undefined)
    throw refused(time, `the SVID of ${spiffeId} is valid ${validity(leaf)}, now is ${iso(nowMs)}`, spiffeId);

  const path = findCertificatePath(leaf, { roots: rootsOf(bundle), sent, nowMs, uses: svidUses });
  if (!('links' in path)) throw refused(path.flaw, `${path.what} (SVID of ${spiffeId})`, spiffeId);
  if (path.links.some((link) => trust.isRevoked(link.facts.serialHex, spiffeId))) {
    throw refused(
      'revoked',
      `the SVID of ${spiffeId} with serial ${leaf.facts.serialHex}, or a signer of it, is revoked`,
      spiffeId,
    );
  }
  for (const [position, der] of chain.entries()) {
    // One that the caller has read is new, and nobody's yet.
    const link = position === 0 ? (input.leaf === undefined ? leaf : undefined) : sent[position - 1];
    if (link !== undefined && path.links.includes(link)) rememberLink(der, link);
  }
  return { spiffeId, notAfterMs: leaf.facts.notAfterMs, serialHex: leaf.facts.serialHex };
}

/**
 * Verifies the peer of a finished handshake; to be called before the first byte is read or written. A resumed session is refused: it carries no
 * chain that could be judged against today's bundle.
 *
 * @param chain `sentChain(socket)`, where the caller has asked for it already
 * @throws MeshError SLV-2020
 */
export function verifySocket(
  socket: TLSSocket,
  trust: TrustSource,
  nowMs: number,
  chain: readonly Uint8Array[] = sentChain(socket),
): VerifiedPeer {
  if (socket.isSessionReused()) throw refused('resumed-session', 'the TLS session was resumed, which is not accepted');
  return verifyChain({ chain, trust, nowMs });
}

/** What the peer sent, leaf first, DER; empty when that was nothing. Each call has OpenSSL copy every certificate. getPeerCertificate(true) would do as well, at the cost of decoding every field (CVE-2025-59464 was there). */
export function sentChain(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  for (let sent = socket.getPeerX509Certificate(); sent !== undefined; sent = sent.issuerCertificate) {
    chain.push(sent.raw);
    if (chain.length > maxSentCertificates) break;
  }
  return chain;
}

function readSent(der: Uint8Array, position: number): CertificateLink {
  if (der.length > maxCertificateBytes) {
    throw refused(
      'certificate-too-large',
      `certificate ${position} has ${der.length} bytes, over the limit of ${maxCertificateBytes}`,
    );
  }
  try {
    return readKnownLink(der);
  } catch (cause) {
    const reason = cause instanceof MeshError ? cause.message : 'it cannot be read';
    throw refused('malformed-certificate', `certificate ${position}: ${reason}`, undefined, cause);
  }
}

function idOfLeaf(leaf: CertificateLink): SpiffeId {
  try {
    return svidIdOf(leaf.facts);
  } catch (cause) {
    throw refused(
      'not-an-svid',
      cause instanceof MeshError ? cause.message : 'the leaf is no X.509-SVID',
      undefined,
      cause,
    );
  }
}

/** Parsed once for the life of a bundle. */
const parsedRoots = new WeakMap<TrustBundle, readonly CertificateLink[]>();

function rootsOf(bundle: TrustBundle): readonly CertificateLink[] {
  const known = parsedRoots.get(bundle);
  if (known !== undefined) return known;
  const roots = bundle.x509Authorities.flatMap((der) => {
    try {
      return [readCertificateLink(der)];
    } catch {
      return []; // one authority outside of our bounds (a new algorithm, say) must not take the others down; it verifies nothing
    }
  });
  parsedRoots.set(bundle, roots);
  return roots;
}

function refused(rule: PeerFlaw, what: string, spiffeId?: SpiffeId, cause?: unknown): MeshError {
  return new MeshError('SLV-2020', `The peer's certificate is refused: ${what.replace(/\.$/, '')}.`, {
    detail: { rule, ...(spiffeId === undefined ? {} : { spiffeId }) },
    cause,
  });
}
