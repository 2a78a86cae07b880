import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { contextTag } from '#policies/der.ts';
import {
  derBitString,
  derBoolean,
  derExplicit,
  derNamedBits,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
  derValue,
  toPem,
} from '#policies/der-writer.ts';
import { parseTrustDomain, type SpiffeId, type TrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';

/**
 * A real certificate authority for tests, small and fast (about 0.2 ms a certificate), which also makes every certificate that must be refused.
 * Written by hand because libraries rightly refuse to make most of those.
 */

/** Bits of KeyUsage (RFC 5280 4.2.1.3). */
export const usage = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, crlSign: 6 } as const;

/** What a certificate is to say. Everything has a default that makes a good SVID (or, for `intermediate`, a good signer). */
export interface Recipe {
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  /** Common name; '' makes an empty subject. */
  readonly commonName?: string;
  readonly sanCritical?: boolean;
  readonly isCa?: boolean;
  readonly pathLength?: number;
  /** null: no extension. */
  readonly keyUsage?: readonly number[] | null;
  readonly keyUsageCritical?: boolean;
  /** OIDs; null: no extension. */
  readonly extendedKeyUsage?: readonly string[] | null;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly serialHex?: string;
  /** The certificate's own key; default a fresh EC P-256. Of a leaf, the public one will do (a CSR's); its `keyPem` is then empty. */
  readonly keys?: { readonly publicKey: KeyObject; readonly privateKey?: KeyObject };
  /** Whole further Extension values (see `extension`). */
  readonly extensions?: readonly Uint8Array[];
}

/** What can sign: a name, a key, and the certificates that a peer must send along with what it signs. */
export interface Authority {
  readonly name: Uint8Array;
  readonly certificate: Uint8Array;
  readonly privateKey: KeyObject;
  /** DER, itself first, up to and not including the root. */
  readonly chain: readonly Uint8Array[];
  /** A further signer below this one. */
  intermediate(recipe?: Recipe): Authority;
  /** @param recipe `spiffeId` is short for `uris: [spiffeId]` */
  issue(recipe: Recipe & { readonly spiffeId?: string }): Svid & { readonly chain: readonly Uint8Array[] };
}

/** A root, the issuing CA below it that signs by default, and the bundle that trusts the root. */
export interface MiniCa extends Authority {
  readonly trustDomain: TrustDomain;
  readonly root: Authority;
  readonly bundle: TrustBundle;
}

/** @param trustDomain as in `mesh.test` */
export function makeCa(trustDomain: string, recipe: Recipe = {}): MiniCa {
  const uris = [`spiffe://${trustDomain}`];
  const root = authority(undefined, {
    uris,
    commonName: `root of ${trustDomain} ${randomBytes(4).toString('hex')}`,
    ...recipe,
  });
  const issuing = root.intermediate({ uris, commonName: 'issuing CA', pathLength: 0 });
  const bundle = {
    trustDomain: parseTrustDomain(trustDomain),
    sequence: 1,
    refreshHintSeconds: 300,
    x509Authorities: [root.certificate],
    jwtAuthorities: [],
  };
  return { ...issuing, trustDomain: bundle.trustDomain, root, bundle };
}

/** A trust source that changes only when it is told to. */
export type StaticTrust = TrustSource & {
  revoke(serialOrId: string): void;
  /** Another bundle in the place of the one of its trust domain. */
  replace(bundle: TrustBundle): void;
};

/** A trust source that never changes by itself; `own` is the first bundle's. */
export function staticTrust(...first: readonly TrustBundle[]): StaticTrust {
  let bundles = first;
  const revoked = new Set<string>();
  const listeners = new Set<() => void>();
  return {
    own: bundles[0]?.trustDomain,
    bundleOf: (trustDomain) => bundles.find((bundle) => bundle.trustDomain === trustDomain),
    isRevoked: (serialHex, id) => revoked.has(serialHex) || revoked.has(id),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    revoke(serialOrId) {
      revoked.add(serialOrId);
      for (const listener of listeners) listener();
    },
    replace(bundle) {
      bundles = bundles.map((each) => (each.trustDomain === bundle.trustDomain ? bundle : each));
      for (const listener of listeners) listener();
    },
  };
}

/** One Extension (RFC 5280 4.1). */
export function extension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  return derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));
}

/** @param issuer undefined: self-signed */
function authority(issuer: Authority | undefined, recipe: Recipe): Authority {
  const made = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keys = { ...made, ...recipe.keys };
  const name = distinguishedName(recipe.commonName ?? `CA ${randomBytes(4).toString('hex')}`);
  const signer = issuer ?? { name, privateKey: keys.privateKey };
  const certificate = makeCertificate(
    { isCa: true, keyUsage: [usage.keyCertSign, usage.crlSign], extendedKeyUsage: null, ...recipe },
    { subject: name, publicKey: keys.publicKey, issuerName: signer.name, issuerKey: signer.privateKey },
  );
  const self: Authority = {
    name,
    certificate,
    privateKey: keys.privateKey,
    chain: issuer === undefined ? [] : [certificate, ...issuer.chain],
    intermediate: (below = {}) => authority(self, below),
    issue: (leaf) => issueLeaf(self, leaf),
  };
  return self;
}

function issueLeaf(
  issuer: Authority,
  recipe: Recipe & { readonly spiffeId?: string },
): Svid & { readonly chain: readonly Uint8Array[] } {
  const uris = recipe.uris ?? (recipe.spiffeId === undefined ? [] : [recipe.spiffeId]);
  const keys: NonNullable<Recipe['keys']> = recipe.keys ?? generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const notBeforeMs = recipe.notBeforeMs ?? Date.now() - 30_000;
  const notAfterMs = recipe.notAfterMs ?? Date.now() + 3_600_000;
  const serialHex = recipe.serialHex ?? freshSerial();
  const certificate = makeCertificate(
    { ...recipe, uris, notBeforeMs, notAfterMs, serialHex },
    {
      subject: recipe.commonName === undefined ? distinguishedName('') : distinguishedName(recipe.commonName),
      publicKey: keys.publicKey,
      issuerName: issuer.name,
      issuerKey: issuer.privateKey,
    },
  );
  const chain = [certificate, ...issuer.chain];
  return {
    // The wrong ones have no ID that could be parsed; a test that asks for them knows.
    spiffeId: (uris[0] ?? '') as SpiffeId,
    chainPem: chain.map((der) => toPem('CERTIFICATE', der)).join(''),
    keyPem: keys.privateKey?.export({ type: 'pkcs8', format: 'pem' }).toString() ?? '',
    notBeforeMs: Math.floor(notBeforeMs / 1_000) * 1_000,
    notAfterMs: Math.floor(notAfterMs / 1_000) * 1_000,
    serialHex,
    chain,
  };
}

interface Parties {
  readonly subject: Uint8Array;
  readonly publicKey: KeyObject;
  readonly issuerName: Uint8Array;
  readonly issuerKey: KeyObject;
}

/** ecdsa-with-SHA256; every authority here has an EC key. */
const signatureAlgorithm = derSequence(derOid('1.2.840.10045.4.3.2'));

function makeCertificate(recipe: Recipe, parties: Parties): Uint8Array {
  const { uris = [], dns = [], isCa = false, pathLength } = recipe;
  const keyUsage = recipe.keyUsage === undefined ? [usage.digitalSignature] : recipe.keyUsage;
  const eku =
    recipe.extendedKeyUsage === undefined ? ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'] : recipe.extendedKeyUsage;
  const names = [
    ...uris.map((uri) => derValue(contextTag(6), Buffer.from(uri, 'latin1'))),
    ...dns.map((host) => derValue(contextTag(2), Buffer.from(host))),
  ];
  const basicConstraints = [
    ...(isCa ? [derBoolean(true)] : []),
    ...(pathLength === undefined ? [] : [derUnsigned(Uint8Array.of(pathLength))]),
  ];
  const extensions = [
    extension('2.5.29.19', true, derSequence(...basicConstraints)),
    ...(keyUsage === null ? [] : [extension('2.5.29.15', recipe.keyUsageCritical ?? true, derNamedBits(...keyUsage))]),
    ...(eku === null ? [] : [extension('2.5.29.37', false, derSequence(...eku.map(derOid)))]),
    ...(names.length === 0 ? [] : [extension('2.5.29.17', recipe.sanCritical ?? !isCa, derSequence(...names))]),
    ...(recipe.extensions ?? []),
  ];
  const tbs = derSequence(
    derExplicit(0, derUnsigned(Uint8Array.of(2))),
    derUnsigned(Buffer.from(recipe.serialHex ?? freshSerial(), 'hex')),
    signatureAlgorithm,
    parties.issuerName,
    derSequence(
      derTime(recipe.notBeforeMs ?? Date.now() - 60_000),
      derTime(recipe.notAfterMs ?? Date.now() + 86_400_000),
    ),
    parties.subject,
    parties.publicKey.export({ type: 'spki', format: 'der' }),
    derExplicit(3, derSequence(...extensions)),
  );
  return derSequence(tbs, signatureAlgorithm, derBitString(sign('sha256', tbs, parties.issuerKey)));
}

function distinguishedName(commonName: string): Uint8Array {
  return commonName === '' ? derSequence() : derSequence(derSet(derSequence(derOid('2.5.4.3'), derUtf8(commonName))));
}

/** 16 octets, the first neither zero nor negative, so that hex and certificate agree. */
function freshSerial(): string {
  return `7${randomBytes(16).toString('hex').slice(1)}`;
}
