import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { toPem } from '#policies/der-writer.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { type OpenedBundle, readUnprovenBundle } from './svid/open-bundle.ts';
import type { Svid } from './svid/svid.ts';

/**
 * Our CA as Consul's Connect API shows one (Consul: api/connect_ca.go), made of what identity signed: for the catalog and the agent, which both serve it.
 */

declare global {
  interface JSON {
    /** A number that JSON.stringify writes digit by digit (ECMAScript proposal JSON.parse source text access, in V8). */
    rawJSON(digits: string): object;
  }
}

/** Where a signed bundle comes from that was proven when it was taken in. */
export interface SignedBundleSource {
  current(): string | undefined;
  onChange(listener: () => void): () => void;
}

/** Answer to `GET /v1/connect/ca/roots`. */
export interface ConsulRoots {
  /** Grows with each change of the roots or of which one is active, over restarts too; at least 1. */
  readonly index: number;
  /** JSON. @param indent for `?pretty` */
  json(nowMs: number, indent?: number): string;
  readonly pem: string;
}

/** The roots of the own trust domain, read anew whenever identity has signed something new. */
export class ConsulCa {
  readonly #source: SignedBundleSource;
  #read: { readonly jws: string; readonly roots: ConsulRoots } | undefined;
  #shown = '';

  constructor(source: SignedBundleSource) {
    this.#source = source;
  }

  /** @returns undefined while no bundle is there. Throws SLV-2012 when it is none */
  async roots(): Promise<ConsulRoots | undefined> {
    const jws = this.#source.current();
    if (jws === undefined) return undefined;
    if (this.#read?.jws !== jws) {
      const opened = await readUnprovenBundle(jws);
      if (this.#read?.jws !== jws) this.#read = { jws, roots: this.#rootsOf(opened) };
    }
    return this.#read.roots;
  }

  onChange(listener: () => void): () => void {
    return this.#source.onChange(listener);
  }

  #rootsOf(opened: OpenedBundle): ConsulRoots {
    const { trustDomain, x509Authorities, sequence } = opened.bundle;
    const active = activeRootOf(opened);
    const shown = [active, ...x509Authorities].map((der) => fingerprint(der)).join();
    // What was shown before ends up below: a restart begins with a bundle that was signed later.
    const before = this.#read?.roots.index ?? 0;
    const index = shown === this.#shown ? before : Math.max(1, before + 1, sequence, opened.issuedAt);
    this.#shown = shown;
    return {
      index,
      json(nowMs, indent) {
        const roots = x509Authorities.map((der) => rootView(der, der === active, index, nowMs));
        return JSON.stringify(
          { ActiveRootID: fingerprint(active), TrustDomain: trustDomain, Roots: roots },
          undefined,
          indent,
        );
      },
      pem: x509Authorities.map((der) => toPem('CERTIFICATE', der)).join(''),
    };
  }
}

/** Answer to `GET /v1/agent/connect/ca/leaf/:service`: JSON, with the private key. @param indent for `?pretty` */
export function consulLeaf(service: string, svid: Svid, index: number, indent?: number): string {
  const leaf = {
    SerialNumber: colons(svid.serialHex),
    CertPEM: svid.chainPem,
    PrivateKeyPEM: consulKey(svid.keyPem),
    Service: service,
    ServiceURI: svid.spiffeId,
    ValidAfter: rfc3339(svid.notBeforeMs),
    ValidBefore: rfc3339(svid.notAfterMs),
    CreateIndex: index,
    ModifyIndex: index,
  };
  return JSON.stringify(leaf, undefined, indent);
}

/** The root that the newest signer's chain ends in; while identity is between two roots, the one that the lowest of its certificates is under. */
function activeRootOf({ bundle, signerChain }: OpenedBundle): Uint8Array {
  const [first = new Uint8Array()] = bundle.x509Authorities;
  const roots = bundle.x509Authorities.map((der) => ({ der, x509: new X509Certificate(der) }));
  for (const certificate of signerChain.map((der) => new X509Certificate(der))) {
    const root = roots.find(({ x509 }) => certificate.checkIssued(x509) && certificate.verify(x509.publicKey));
    if (root !== undefined) return root.der;
  }
  return first;
}

/** One item of `Roots`. Consul's serial number is a uint64, of which its Go client makes sure: the low 64 bits, as Go's big.Int.Uint64 gives them. */
function rootView(der: Uint8Array, isActive: boolean, index: number, nowMs: number) {
  const { serialHex, subjectKeyId, notBeforeMs, notAfterMs } = readCertificate(der);
  const { publicKey, subject } = new X509Certificate(der);
  return {
    ID: fingerprint(der),
    Name: /^CN=(.*)$/m.exec(subject)?.[1] ?? 'Mesh root',
    SerialNumber: JSON.rawJSON(BigInt.asUintN(64, BigInt(`0x${serialHex}`)).toString()),
    SigningKeyID: subjectKeyId === undefined ? '' : colons(Buffer.from(subjectKeyId).toString('hex')),
    ExternalTrustDomain: '',
    NotBefore: rfc3339(notBeforeMs),
    NotAfter: rfc3339(notAfterMs),
    DaysRemaining: Math.max(0, Math.floor((notAfterMs - nowMs) / 86_400_000)),
    RootCert: toPem('CERTIFICATE', der),
    IntermediateCerts: null,
    Active: isActive,
    PrivateKeyType: publicKey.asymmetricKeyType ?? '',
    PrivateKeyBits: keyBits(publicKey.asymmetricKeyDetails),
    CreateIndex: index,
    ModifyIndex: index,
  };
}

function keyBits(details: { modulusLength?: number; namedCurve?: string } | undefined): number {
  const curves: Readonly<Record<string, number>> = { prime256v1: 256, secp384r1: 384, secp521r1: 521 };
  return details?.modulusLength ?? curves[details?.namedCurve ?? ''] ?? 256;
}

/** Consul hands out EC keys as SEC 1. */
function consulKey(pem: string): string {
  const key = createPrivateKey(pem);
  return key.asymmetricKeyType === 'ec' ? key.export({ type: 'sec1', format: 'pem' }).toString() : pem;
}

/** SHA-1 over the certificate, as Consul names its roots: a name, nothing is trusted by it. */
function fingerprint(der: Uint8Array): string {
  return colons(createHash('sha1').update(der).digest('hex'));
}

/** `aa:bb` of `aabb`. */
function colons(hex: string): string {
  const even = hex.length % 2 === 0 ? hex : `0${hex}`;
  return even.match(/../g)?.join(':') ?? '';
}

/** Whole seconds, as certificates have them: `2026-11-23T12:00:00Z`. */
function rfc3339(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.\d{3}Z$/, 'Z');
}
