import type { TLSSocket } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type SpiffeId, trustDomainOf } from '#policies/spiffe-id.ts';
import { svidIdOf } from '#policies/svid-leaf.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import { type CertificateLink, maxCertificateBytes, readCertificateLink } from './certificate-link.ts';
import { satisfiesNameConstraints } from './name-constraints.ts';
import type { TrustSource } from './trust.ts';

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
  | 'untrusted-root'
  | 'bad-signature'
  | 'signer-not-ca'
  | 'signer-not-yet-valid'
  | 'signer-expired'
  | 'signer-eku'
  | 'path-length'
  | 'name-constraints'
  | 'chain-too-long';

/** How far clocks may differ. */
export const clockSkewMs = 60_000;
/** Certificates that a peer may send. */
const maxSentCertificates = 16;
/** Certificates in a path, leaf and root included. */
const maxPathLinks = 5;
/** Signatures verified for one chain, so that many certificates of one name and key cost no more than this. */
const maxSignatureChecks = 16;

/**
 * THE verifier of X.509-SVIDs (invariant 3): RFC 5280 6.1 with the roots of the leaf's own trust domain and of no other, and every rule of SPIFFE
 * X509-SVID 5. A path is searched through what the peer sent, so the order after the leaf does not matter (RFC 8446 4.4.2).
 *
 * @param input.chain leaf first, DER, as the peer sent it
 * @throws MeshError SLV-2020 with the broken rule in `detail.rule`
 */
export function verifyChain(input: { chain: readonly Uint8Array[]; trust: TrustSource; nowMs: number }): VerifiedPeer {
  const { chain, trust, nowMs } = input;
  if (chain.length > maxSentCertificates) {
    throw refused(
      'too-many-certificates',
      `it sent ${chain.length} certificates, over the limit of ${maxSentCertificates}`,
    );
  }
  const [leaf, ...sent] = chain.map(readSent);
  if (leaf === undefined) throw refused('no-certificate', 'it presented no certificate');
  const spiffeId = idOfLeaf(leaf);
  const bundle = trust.bundleOf(trustDomainOf(spiffeId));
  if (bundle === undefined)
    throw refused('unknown-trust-domain', `there is no bundle of the trust domain of ${spiffeId}`, spiffeId);
  const time = flawOfTime(leaf, nowMs);
  if (time !== undefined)
    throw refused(time, `the SVID of ${spiffeId} is valid ${validity(leaf)}, now is ${iso(nowMs)}`, spiffeId);

  const path = new PathSearch(rootsOf(bundle), sent, nowMs).find(leaf);
  if (!('links' in path)) throw refused(path.flaw, `${path.what} (SVID of ${spiffeId})`, spiffeId);
  if (path.links.some((link) => trust.isRevoked(link.facts.serialHex, spiffeId))) {
    throw refused(
      'revoked',
      `the SVID of ${spiffeId} with serial ${leaf.facts.serialHex}, or a signer of it, is revoked`,
      spiffeId,
    );
  }
  return { spiffeId, notAfterMs: leaf.facts.notAfterMs, serialHex: leaf.facts.serialHex };
}

/**
 * Verifies the peer of a finished handshake; to be called before the first byte is read or written. A resumed session is refused: it carries no
 * chain that could be judged against today's bundle.
 *
 * @throws MeshError SLV-2020
 */
export function verifySocket(socket: TLSSocket, trust: TrustSource, nowMs: number): VerifiedPeer {
  if (socket.isSessionReused()) throw refused('resumed-session', 'the TLS session was resumed, which is not accepted');
  return verifyChain({ chain: sentChain(socket), trust, nowMs });
}

/** Whether the peer of a finished handshake presented a certificate at all. */
export function hasPeerCertificate(socket: TLSSocket): boolean {
  return socket.getPeerX509Certificate() !== undefined;
}

/** What the peer sent, leaf first, DER. getPeerCertificate(true) would do as well, at the cost of decoding every field (CVE-2025-59464 was there). */
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
    return readCertificateLink(der);
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

interface DeadEnd {
  readonly flaw: PeerFlaw;
  readonly what: string;
}
type Path = { readonly links: readonly CertificateLink[] } | DeadEnd;

/** Depth-first search for a path from the leaf to a root. Roots are tried first, so a chain that also carries the root stays short. */
class PathSearch {
  readonly #roots: readonly CertificateLink[];
  readonly #sent: readonly CertificateLink[];
  readonly #nowMs: number;
  #checksLeft = maxSignatureChecks;

  constructor(roots: readonly CertificateLink[], sent: readonly CertificateLink[], nowMs: number) {
    this.#roots = roots;
    this.#sent = sent;
    this.#nowMs = nowMs;
  }

  /** @returns the path, or the flaw of the most promising attempt */
  find(leaf: CertificateLink): Path {
    return this.#climb([leaf]);
  }

  #climb(below: readonly CertificateLink[]): Path {
    const last = below[below.length - 1];
    let deadEnd: DeadEnd = { flaw: 'untrusted-root', what: 'no root of its trust domain leads to it' };
    if (last === undefined) return deadEnd;
    if (below.length === maxPathLinks)
      return { flaw: 'chain-too-long', what: `no root within ${maxPathLinks} certificates` };
    for (const root of this.#roots.filter((root) => root.subject.equals(last.issuer))) {
      const flaw = this.#flawOfStep(below, last, root);
      if (flaw === undefined) return { links: [...below, root] };
      deadEnd = flaw;
    }
    for (const signer of this.#sent.filter((sent) => sent.subject.equals(last.issuer) && !below.includes(sent))) {
      const flaw = this.#flawOfStep(below, last, signer);
      const path = flaw ?? this.#climb([...below, signer]);
      if ('links' in path) return path;
      deadEnd = path;
    }
    return deadEnd;
  }

  /** What speaks against `signer` having signed `signed`, the top of the path so far. The signature last: it is what costs. */
  #flawOfStep(
    below: readonly CertificateLink[],
    signed: CertificateLink,
    signer: CertificateLink,
  ): DeadEnd | undefined {
    const { facts } = signer;
    if (!facts.isCa || facts.keyUsage?.keyCertSign !== true) {
      return {
        flaw: 'signer-not-ca',
        what: 'a certificate of its chain was signed by one that may not sign certificates',
      };
    }
    const time = flawOfTime(signer, this.#nowMs);
    if (time !== undefined)
      return { flaw: `signer-${time}`, what: `a signer is valid ${validity(signer)}, now is ${iso(this.#nowMs)}` };
    if (!allowsBothUses(facts.extendedKeyUsage)) {
      return { flaw: 'signer-eku', what: 'a signer is limited to other uses than client and server authentication' };
    }
    const intermediates = below.slice(1).filter((link) => !link.subject.equals(link.issuer)).length;
    if (signer.pathLength !== undefined && intermediates > signer.pathLength) {
      return {
        flaw: 'path-length',
        what: `a signer allows ${signer.pathLength} intermediates, the path has ${intermediates}`,
      };
    }
    const constraints = signer.nameConstraints;
    if (constraints !== undefined && !below.every((link) => satisfiesNameConstraints(constraints, link.facts))) {
      return { flaw: 'name-constraints', what: "a signer's name constraints do not permit it" };
    }
    if (this.#checksLeft === 0)
      return { flaw: 'chain-too-long', what: `no path within ${maxSignatureChecks} signatures` };
    this.#checksLeft -= 1;
    if (!signed.x509.verify(signer.key))
      return { flaw: 'bad-signature', what: 'a signature of its chain does not verify' };
    return undefined;
  }
}

/** A signer without the extension is not limited (RFC 5280 4.2.1.12); with it, what it signs is. */
function allowsBothUses(uses: readonly string[] | undefined): boolean {
  if (uses === undefined || uses.includes('2.5.29.37.0')) return true;
  return uses.includes('1.3.6.1.5.5.7.3.1') && uses.includes('1.3.6.1.5.5.7.3.2');
}

function flawOfTime({ facts }: CertificateLink, nowMs: number): 'not-yet-valid' | 'expired' | undefined {
  if (nowMs < facts.notBeforeMs - clockSkewMs) return 'not-yet-valid';
  return nowMs > facts.notAfterMs + clockSkewMs ? 'expired' : undefined;
}

function validity({ facts }: CertificateLink): string {
  return `from ${iso(facts.notBeforeMs)} to ${iso(facts.notAfterMs)}`;
}

/** RFC 5280 allows the year 9999 (a date that Date can print). */
function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function refused(rule: PeerFlaw, what: string, spiffeId?: SpiffeId, cause?: unknown): MeshError {
  return new MeshError('SLV-2020', `The peer's certificate is refused: ${what.replace(/\.$/, '')}.`, {
    detail: { rule, ...(spiffeId === undefined ? {} : { spiffeId }) },
    cause,
  });
}
