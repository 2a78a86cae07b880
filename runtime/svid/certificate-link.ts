import { type KeyObject, X509Certificate } from 'node:crypto';
import { contextTag, derTag, openDer } from '#policies/der.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type LeafFacts, readCertificate } from '#policies/svid-leaf.ts';
import { type NameConstraints, readNameConstraints } from './name-constraints.ts';
import { isAcceptedAlgorithm, readSignedDer, type SignedDer } from './signed-der.ts';

/** Largest certificate that is looked at, in bytes of DER. */
export const maxCertificateBytes = 16_384;

/** One certificate of a chain, with all that path validation (RFC 5280 6.1) asks of it. Nothing in it has been verified. */
export interface CertificateLink {
  /** The certificate itself. */
  readonly der: Uint8Array;
  readonly facts: LeafFacts;
  /** The public key; of an accepted type and size. */
  readonly key: KeyObject;
  readonly signature: SignedDer;
  /** Distinguished names, DER, compared byte by byte. */
  readonly subject: Buffer;
  readonly issuer: Buffer;
  /** pathLenConstraint of basicConstraints: how many intermediates may follow. */
  readonly pathLength: number | undefined;
  readonly nameConstraints: NameConstraints | undefined;
}

/** Extensions that are understood here or in svid-leaf.ts; any other that is critical refuses the certificate (RFC 5280 4.2). */
const oid = {
  keyUsage: '2.5.29.15',
  san: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  eku: '2.5.29.37',
};
const understood: ReadonlySet<string> = new Set(Object.values(oid));

/**
 * Reads a certificate and bounds its key and algorithms before anything is computed with them: a peer must not choose how long we compute.
 *
 * @param der X.509 certificate
 * @throws MeshError SLV-5003, SLV-5007 when malformed or outside of the bounds
 */
export function readCertificateLink(der: Uint8Array): CertificateLink {
  if (der.length > maxCertificateBytes)
    throw unusable(`it has ${der.length} bytes, over the limit of ${maxCertificateBytes}`);
  const facts = readCertificate(der);
  const fields = readFields(der);
  return { der, facts, key: boundedKey(openssl(der)), ...fields };
}

/**
 * The link of a certificate that was read already, and whose key the caller has read and bounded before: that of the request which it answers. OpenSSL does
 * not read it again: its key is known, and its signature is over bytes.
 *
 * @param facts `readCertificate(der)`
 * @throws MeshError SLV-5003, SLV-5007 when it holds another key or is outside of the bounds
 */
export function linkOfKnownKey(
  der: Uint8Array,
  facts: LeafFacts,
  known: { readonly spkiDer: Uint8Array; readonly key: KeyObject },
): CertificateLink {
  if (der.length > maxCertificateBytes)
    throw unusable(`it has ${der.length} bytes, over the limit of ${maxCertificateBytes}`);
  if (Buffer.compare(facts.spkiDer, known.spkiDer) !== 0) throw unusable('it is for another key');
  return { der, facts, key: known.key, ...readFields(der) };
}

/** OpenSSL's reading of what our strict reader has accepted. */
function openssl(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (cause) {
    throw new MeshError('SLV-5003', 'The certificate cannot be read by OpenSSL.', { cause });
  }
}

function boundedKey(x509: X509Certificate): KeyObject {
  let key: KeyObject;
  try {
    key = x509.publicKey;
  } catch (cause) {
    throw new MeshError('SLV-5003', 'The certificate cannot be used: its key cannot be read.', { cause });
  }
  const { namedCurve, modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return key;
    case 'ec':
      if (namedCurve === 'prime256v1' || namedCurve === 'secp384r1') return key;
      throw unusable(`its key is on the curve ${namedCurve}; P-256 and P-384 are accepted`);
    case 'rsa':
      if (modulusLength >= 2_048 && modulusLength <= 4_096 && isSaneExponent(publicExponent)) return key;
      throw unusable(`its RSA key has ${modulusLength} bits; 2048 to 4096 with a small exponent are accepted`);
    default:
      throw unusable(`its key is of type ${key.asymmetricKeyType}; EC, Ed25519 and RSA are accepted`);
  }
}

/** 1 would make every number its own signature, an even one belongs to no key, a huge one costs whoever verifies. */
function isSaneExponent(exponent: bigint): boolean {
  return exponent >= 3n && exponent <= 0xffff_ffffn && exponent % 2n === 1n;
}

type Fields = Pick<CertificateLink, 'signature' | 'subject' | 'issuer' | 'pathLength' | 'nameConstraints'>;

/** The certificate (RFC 5280 4.1) once more, for its signature and the fields that matter to signers only. */
function readFields(der: Uint8Array): Fields {
  const signature = readSignedDer(openDer(der));
  if (!isAcceptedAlgorithm(signature.algorithm))
    throw unusable(`it is signed with ${signature.algorithm}, which is not accepted`);
  const tbs = openDer(signature.signed);
  tbs.enterOptional(contextTag(0, true));
  tbs.integerBytes();
  tbs.read(derTag.sequence);
  const issuer = Buffer.from(tbs.readWhole(derTag.sequence));
  tbs.read(derTag.sequence);
  const subject = Buffer.from(tbs.readWhole(derTag.sequence));
  tbs.read(derTag.sequence);
  // Unique identifiers may stand between; passing over them must not make us miss the extensions.
  for (const number of [1, 2]) if (tbs.nextTag === contextTag(number)) tbs.read(contextTag(number));
  const extensions = tbs.enterOptional(contextTag(3, true))?.enter(derTag.sequence);
  let pathLength: number | undefined;
  let nameConstraints: NameConstraints | undefined;
  while (extensions !== undefined && !extensions.atEnd) {
    const extension = extensions.enter(derTag.sequence);
    const id = extension.oid();
    const critical = extension.nextTag === derTag.boolean && extension.boolean();
    const value = extension.read(derTag.octetString);
    if (critical && !understood.has(id)) throw unusable(`its critical extension ${id} is not understood`);
    if (id === oid.basicConstraints) pathLength = readPathLength(value);
    if (id === oid.nameConstraints) nameConstraints = readNameConstraints(value);
  }
  return { signature, subject, issuer, pathLength, nameConstraints };
}

function readPathLength(basicConstraints: Uint8Array): number | undefined {
  const fields = openDer(basicConstraints);
  if (fields.nextTag === derTag.boolean) fields.boolean();
  return fields.nextTag === derTag.integer ? fields.smallInteger() : undefined;
}

function unusable(flaw: string): MeshError {
  return new MeshError('SLV-5003', `The certificate cannot be used: ${flaw}.`);
}
