import { type KeyObject, verify } from 'node:crypto';
import { type DerReader, derTag } from '#policies/der.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { verifySideBySide } from './side-by-side.ts';

/** What was signed, by what algorithm, and the signature: of a certificate (RFC 5280 4.1.1) or of a request for one (RFC 2986 4.2). Nothing verified. */
export interface SignedDer {
  /** What the signature is over, DER, a view. */
  readonly signed: Uint8Array;
  /** Signature algorithm, OID in dotted form. */
  readonly algorithm: string;
  /** A view. */
  readonly signature: Uint8Array;
}

/**
 * ECDSA and RSA PKCS#1 with SHA-256/384/512, Ed25519; the key that each needs and its digest. Not SHA-1, not MD5, and not RSA-PSS, whose parameters can
 * name them.
 */
const algorithms: Readonly<Record<string, { readonly key: string; readonly digest: string | null }>> = {
  '1.2.840.10045.4.3.2': { key: 'ec', digest: 'sha256' },
  '1.2.840.10045.4.3.3': { key: 'ec', digest: 'sha384' },
  '1.2.840.10045.4.3.4': { key: 'ec', digest: 'sha512' },
  '1.3.101.112': { key: 'ed25519', digest: null },
  '1.2.840.113549.1.1.11': { key: 'rsa', digest: 'sha256' },
  '1.2.840.113549.1.1.12': { key: 'rsa', digest: 'sha384' },
  '1.2.840.113549.1.1.13': { key: 'rsa', digest: 'sha512' },
};

/**
 * Reads SEQUENCE { signed, algorithm, signature }.
 * @param outer of the content of that sequence
 * @throws MeshError SLV-5007
 */
export function readSignedDer(outer: DerReader): SignedDer {
  const signed = outer.readWhole(derTag.sequence);
  const identifier = outer.enter(derTag.sequence);
  const algorithm = identifier.oid();
  if (identifier.nextTag === derTag.null) identifier.read(derTag.null); // RSA's, which says nothing
  identifier.finish();
  const { bytes: signature, unusedBits } = outer.bitString();
  outer.finish();
  if (unusedBits !== 0) throw new MeshError('SLV-5007', 'Malformed DER: a signature that is not of whole bytes.');
  return { signed, algorithm, signature };
}

/** Whether signatures of this algorithm are looked at: before anything is computed with a key. */
export function isAcceptedAlgorithm(algorithm: string): boolean {
  return Object.hasOwn(algorithms, algorithm);
}

/** Whether the algorithm is accepted, and one for this type of key. */
export function isAlgorithmOf(algorithm: string, key: KeyObject): boolean {
  return isAcceptedAlgorithm(algorithm) && algorithms[algorithm]?.key === key.asymmetricKeyType;
}

/** Whether the signature is one of this key. */
export function isSignedWith({ signed, algorithm, signature }: SignedDer, key: KeyObject): boolean {
  const scheme = algorithms[algorithm];
  if (scheme === undefined || !isAlgorithmOf(algorithm, key)) return false;
  try {
    return verify(scheme.digest, signed, key, signature);
  } catch {
    return false; // OpenSSL throws on signatures that it can't even read
  }
}

/** The same, beside the other orders of this process. The bytes must not change until then. */
export async function isSignedWithSideBySide(
  { signed, algorithm, signature }: SignedDer,
  key: KeyObject,
): Promise<boolean> {
  const scheme = algorithms[algorithm];
  if (scheme === undefined || !isAlgorithmOf(algorithm, key)) return false;
  try {
    return await verifySideBySide(scheme.digest, signed, key, signature);
  } catch {
    return false;
  }
}
