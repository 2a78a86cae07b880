import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
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
  readonly isCa?: boolean;
  readonly keyCertSign?: boolean;
  /** Flips a bit of the signed part after signing. */
  readonly tampered?: boolean;
  /** Signs with another key than the one inside. */
  readonly signedBy?: TestKey;
}

/** A key for a request. */
export function testKey(kind: 'P-256' | 'P-384' | 'P-521' | 'ed25519' | 'rsa-2048' | 'rsa-1024' = 'P-256'): TestKey {
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  if (kind === 'rsa-2048' || kind === 'rsa-1024') {
    return generateKeyPairSync('rsa', { modulusLength: Number(kind.slice(4)) });
  }
  return generateKeyPairSync('ec', { namedCurve: kind });
}

/** A PKCS#10 request, DER. Tests ask for what no honest client would. */
export function forgeRequestDer(wishes: RequestWishes = {}): Uint8Array {
  const key = wishes.key ?? testKey();
  const subject =
    wishes.commonName === undefined ? [] : [derSet(derSequence(derOid('2.5.4.3'), derUtf8(wishes.commonName)))];
  const info = derSequence(
    derUnsigned(Uint8Array.of(0)),
    derSequence(...subject),
    new Uint8Array(key.publicKey.export({ format: 'der', type: 'spki' })),
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
  const { uriSans = [], dnsSans = [], isCa, keyCertSign } = wishes;
  const names = [
    ...uriSans.map((uri) => derValue(0x86, Buffer.from(uri, 'latin1'))),
    ...dnsSans.map((name) => derValue(0x82, Buffer.from(name, 'latin1'))),
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
