import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import {
  derBitString,
  derBoolean,
  derExplicit,
  derNamedBits,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derUnsigned,
  derUtf8,
  derValue,
  toPem,
} from '#policies/der-writer.ts';

/** A key pair of a test. */
export interface TestKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** What a forged request says. All optional: nothing gives a plain request with an EC P-256 key. */
export interface RequestWishes {
  readonly key?: TestKey;
  readonly commonName?: string;
  readonly uriSans?: readonly string[];
  readonly dnsSans?: readonly string[];
  /** Names of other forms: whole GeneralName values. */
  readonly otherSans?: readonly Uint8Array[];
  readonly isCa?: boolean;
  readonly keyCertSign?: boolean;
  /** Flips a bit of the signed part after signing. */
  readonly tampered?: boolean;
  /** Signs with another key than the one inside. */
  readonly signedBy?: TestKey;
  /** Another SubjectPublicKeyInfo than the key's. */
  readonly spkiDer?: Uint8Array;
}

/** Kinds of key that an SVID may have. */
export const goodKeyKinds = ['P-256', 'P-384', 'ed25519', 'rsa-2048', 'rsa-3072'] as const;
type KeyKind = (typeof goodKeyKinds)[number] | 'P-521' | 'secp256k1' | 'rsa-1024';

/** A key for a request. */
export function testKey(kind: KeyKind = 'P-256'): TestKey {
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  if (kind === 'rsa-3072' || kind === 'rsa-2048' || kind === 'rsa-1024') {
    return generateKeyPairSync('rsa', { modulusLength: Number(kind.slice(4)) });
  }
  return generateKeyPairSync('ec', { namedCurve: kind });
}

/** An RSA key of any size and exponent to which nobody has the private half: its modulus is random. DER. */
export function rsaSpki(bits: number, exponent = 65_537n): Uint8Array {
  const modulus = randomBytes(Math.ceil(bits / 8));
  const top = (bits - 1) % 8;
  modulus[0] = ((modulus[0] ?? 0) & ((1 << top) - 1)) | (1 << top);
  modulus[modulus.length - 1] = (modulus[modulus.length - 1] ?? 0) | 1;
  const hex = exponent.toString(16);
  const e = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url');
  const jwk = { kty: 'RSA', n: modulus.toString('base64url'), e };
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'spki' });
}

/** A PKCS#10 request, DER. Tests ask for what no honest client would. */
export function forgeRequestDer(wishes: RequestWishes = {}): Uint8Array {
  const key = wishes.key ?? testKey();
  const subject =
    wishes.commonName === undefined ? [] : [derSet(derSequence(derOid('2.5.4.3'), derUtf8(wishes.commonName)))];
  const info = derSequence(
    derUnsigned(Uint8Array.of(0)),
    derSequence(...subject),
    new Uint8Array(wishes.spkiDer ?? key.publicKey.export({ format: 'der', type: 'spki' })),
    derExplicit(0, ...attributes(wishes)),
  );
  const signer = (wishes.signedBy ?? key).privateKey;
  const kind = signer.asymmetricKeyType;
  const signature = sign(kind === 'ed25519' ? null : 'sha256', info, signer);
  if (wishes.tampered) info.set([(info[info.length - 1] ?? 0) ^ 1], info.length - 1);
  const algorithm =
    kind === 'ed25519'
      ? [derOid('1.3.101.112')]
      : kind === 'rsa'
        ? [derOid('1.2.840.113549.1.1.11'), derNull()]
        : [derOid('1.2.840.10045.4.3.2')];
  return derSequence(info, derSequence(...algorithm), derBitString(signature));
}

/** The same, PEM. */
export function forgeRequest(wishes: RequestWishes = {}): string {
  return toPem('CERTIFICATE REQUEST', forgeRequestDer(wishes));
}

function attributes(wishes: RequestWishes): Uint8Array[] {
  const { uriSans = [], dnsSans = [], otherSans = [], isCa, keyCertSign } = wishes;
  const names = [
    ...uriSans.map((uri) => derValue(0x86, Buffer.from(uri, 'latin1'))),
    ...dnsSans.map((name) => derValue(0x82, Buffer.from(name, 'latin1'))),
    ...otherSans,
  ];
  const extensions = [
    ...(names.length > 0 ? [extension('2.5.29.17', derSequence(...names))] : []),
    ...(isCa === undefined ? [] : [extension('2.5.29.19', derSequence(...(isCa ? [derBoolean(true)] : [])))]),
    ...(keyCertSign ? [extension('2.5.29.15', derNamedBits(0, 5))] : []),
  ];
  if (extensions.length === 0) return [];
  return [derSequence(derOid('1.2.840.113549.1.9.14'), derSet(derSequence(...extensions)))];
}

function extension(oid: string, value: Uint8Array): Uint8Array {
  return derSequence(derOid(oid), derOctetString(value));
}
