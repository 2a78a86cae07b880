import type { CertificateLink } from './certificate-link.ts';
import { isSignedBy } from './known-certificates.ts';
import { satisfiesNameConstraints } from './name-constraints.ts';

/** The rule of path validation (RFC 5280 6.1) that a chain broke. */
export type PathFlaw =
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
/** Certificates in a path, leaf and root included. */
const maxPathLinks = 5;
/** Signatures verified for one chain, so that many certificates of one name and key cost no more than this. */
const maxSignatureChecks = 16;

/** Between what a path is searched. */
export interface PathAnchors {
  readonly roots: readonly CertificateLink[];
  /** What the other side sent along; no order. */
  readonly sent: readonly CertificateLink[];
  readonly nowMs: number;
  /** OIDs: what signers must not be barred from by an EKU of theirs. */
  readonly uses: readonly string[];
}

/** A path from a leaf to a root, by RFC 5280 6.1. Whether the leaf itself is what is wanted is not looked at, not even its time. */
export function findCertificatePath(leaf: CertificateLink, anchors: PathAnchors): CertificatePath {
  return new PathSearch(anchors).climb([leaf]);
}

/** Why there is no path. */
interface DeadEnd {
  readonly flaw: PathFlaw;
  readonly what: string;
}
/** From the leaf to a root, both included; or the flaw of the most promising attempt. */
export type CertificatePath = { readonly links: readonly CertificateLink[] } | DeadEnd;

/** Depth-first search for a path from the leaf to a root. Roots are tried first, so a chain that also carries the root stays short. */
class PathSearch {
  readonly #roots: readonly CertificateLink[];
  readonly #sent: readonly CertificateLink[];
  readonly #nowMs: number;
  readonly #uses: readonly string[];
  #checksLeft = maxSignatureChecks;

  constructor(anchors: PathAnchors) {
    this.#roots = anchors.roots;
    this.#sent = anchors.sent;
    this.#nowMs = anchors.nowMs;
    this.#uses = anchors.uses;
  }

  climb(below: readonly CertificateLink[]): CertificatePath {
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
      const path = flaw ?? this.climb([...below, signer]);
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
    if (!allowsUses(facts.extendedKeyUsage, this.#uses)) {
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
    if (!isSignedBy(signed, signer)) return { flaw: 'bad-signature', what: 'a signature of its chain does not verify' };
    return undefined;
  }
}

/** A certificate without the extension is not limited (RFC 5280 4.2.1.12); with it, it and what it signs is. */
export function allowsUses(given: readonly string[] | undefined, needed: readonly string[]): boolean {
  if (given === undefined || given.includes('2.5.29.37.0')) return true;
  return needed.every((use) => given.includes(use));
}

/** Whether a certificate is out of its time, with the skew that is let pass. */
export function flawOfTime({ facts }: CertificateLink, nowMs: number): 'not-yet-valid' | 'expired' | undefined {
  if (nowMs < facts.notBeforeMs - clockSkewMs) return 'not-yet-valid';
  return nowMs > facts.notAfterMs + clockSkewMs ? 'expired' : undefined;
}

/** For messages: from when to when. */
export function validity({ facts }: CertificateLink): string {
  return `from ${iso(facts.notBeforeMs)} to ${iso(facts.notAfterMs)}`;
}

/** RFC 5280 allows the year 9999 (a date that Date can print). */
export function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
