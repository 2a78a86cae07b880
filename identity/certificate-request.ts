import { createPublicKey, type KeyObject } from 'node:crypto';
import { contextTag, DerReader, derTag, latin1, openDer } from '#policies/der.ts';
import { toPem } from '#policies/der-writer.ts';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import { isAlgorithmOf, isSignedWithSideBySide, readSignedDer } from '#runtime/svid/signed-der.ts';

/** A certificate request that was read, bounded and whose signature was verified. Of it only the public key goes into a certificate. */
export interface CertificateRequest {
  /** SubjectPublicKeyInfo, DER, in the one form that OpenSSL writes. */
  readonly spkiDer: Uint8Array;
  /** That key: of an accepted type and size. */
  readonly key: KeyObject;
  /** The request itself, PEM, encoded anew: for CAs that are asked over the network. */
  readonly pem: string;
  /** URI names that it asks for. */
  readonly uriSans: readonly string[];
  /** DNS names that it asks for, as they came; no character of them has been looked at. */
  readonly dnsSans: readonly string[];
  /** How many names of other forms it asks for: addresses, mail, directories. */
  readonly otherSanCount: number;
  /** It asks to be a CA: CA:TRUE, or to sign certificates or CRLs. */
  readonly asksCa: boolean;
}

/** Largest request, bytes of DER. One with an RSA-4096 key and a 2 KiB ID is below 4 KiB. */
const maxRequestBytes = 8_192;
const maxAttributes = 16;
const maxExtensions = 32;
const maxNames = 64;

const oid = {
  extensionRequest: '1.2.840.113549.1.9.14',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
} as const;

/** How a SubjectPublicKeyInfo of a named curve with an uncompressed point (RFC 5480 2.1.1, 2.2) begins, and its length. */
const plainPoint = {
  prime256v1: { header: Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'), length: 91 },
  secp384r1: { header: Buffer.from('3076301006072a8648ce3d020106052b8104002203620004', 'hex'), length: 120 },
} as const;

/**
 * Reads a PKCS#10 request (RFC 2986). Structure first, then bounds on the key, then the signature: a caller must not choose how long we compute.
 *
 * @param pem one `CERTIFICATE REQUEST` block
 * @throws MeshError SLV-2130 saying what is wrong, and nothing else
 */
export async function readCertificateRequest(pem: string): Promise<CertificateRequest> {
  const der = decodePem(pem);
  try {
    return await readDer(der);
  } catch (cause) {
    if (!isMeshError(cause, 'SLV-5007')) throw cause;
    throw unusable(`it is malformed (${cause.message.replace(/\.$/, '')})`, cause);
  }
}

/**
 * Refuses a request that asks for more than what was decided: another ID, a name that is not allowed, or to be a CA. Nothing of that would be put into
 * the certificate, but whoever asks is mistaken or up to something, and should hear of it. Its subject is not looked at: no SVID of ours has one.
 *
 * @param isAllowedName whether the SVID may hold a DNS name; default: none
 * @returns the DNS names that go into the SVID, each once
 * @throws MeshError SLV-2130, SLV-2131 (names)
 */
export function requireNothingElse(
  request: CertificateRequest,
  decided: SpiffeId,
  isAllowedName: (dnsName: string) => boolean = () => false,
): readonly string[] {
  const other = request.uriSans.find((uri) => uri !== decided);
  if (other !== undefined) throw unusable(`it asks for ${quote(other)}, but its sender is ${decided}`);
  if (request.asksCa) throw unusable('it asks to be a CA');
  const name = request.dnsSans.find((asked) => !isAllowedName(asked));
  if (name !== undefined)
    throw new MeshError('SLV-2131', `The DNS name ${quote(name)} is not allowed in an SVID of ${decided}.`);
  if (request.otherSanCount > 0)
    throw new MeshError('SLV-2131', `An SVID of ${decided} holds no IP address, mail address or directory name.`);
  return [...new Set(request.dnsSans)];
}

function decodePem(pem: string): Uint8Array {
  const match =
    /^\s*-----BEGIN ((?:NEW )?CERTIFICATE REQUEST)-----([A-Za-z0-9+/=\s]{1,16384})-----END \1-----\s*$/.exec(pem);
  const base64 = match?.[2]?.replace(/\s+/g, '');
  if (base64 === undefined) throw unusable('it is not one CERTIFICATE REQUEST in PEM');
  const der = Buffer.from(base64, 'base64');
  if (der.toString('base64') !== base64) throw unusable('its base64 is not exact');
  if (der.length > maxRequestBytes) throw unusable(`it has ${der.length} bytes, over the limit of ${maxRequestBytes}`);
  return der;
}

async function readDer(der: Uint8Array): Promise<CertificateRequest> {
  const statement = readSignedDer(openDer(der));
  const info = openDer(statement.signed);
  if (info.smallInteger() !== 0) throw unusable('it is not of version 1');
  info.read(derTag.sequence); // subject: names nobody here
  const spkiDer = info.readWhole(derTag.sequence);
  const asked = readAttributes(info.enterOptional(contextTag(0, true)));
  info.finish();

  const key = boundedKey(spkiDer);
  if (!isAlgorithmOf(statement.algorithm, key)) {
    throw unusable(`it is signed with ${statement.algorithm}, which is not accepted for its key`);
  }
  if (!(await isSignedWithSideBySide(statement, key))) throw unusable('its signature does not fit its key');
  return {
    spkiDer: Buffer.from(spkiDer),
    key,
    ...asked,
    get pem() {
      return toPem('CERTIFICATE REQUEST', der);
    },
  };
}

function boundedKey(spkiDer: Uint8Array): KeyObject {
  const key = readKey(spkiDer);
  // Header and length leave the coordinates only, which have been found on the curve: nothing is left to ask of the key.
  if (isPlainPoint(spkiDer, plainPoint.prime256v1)) return key;
  const { namedCurve, modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return requireUsual(spkiDer, key);
    case 'ec':
      if (namedCurve === 'prime256v1' || namedCurve === 'secp384r1') {
        // Exporting the key would say less (OpenSSL writes a compressed point, and curve parameters that are spelled out, as it read them) and cost as much
        // as half a signature.
        if (isPlainPoint(spkiDer, plainPoint[namedCurve])) return key;
        throw unusual();
      }
      throw unusable(`its key is on the curve ${namedCurve}; P-256 and P-384 are accepted`);
    case 'rsa':
      if (modulusLength < 2_048 || modulusLength > 4_096) {
        throw unusable(`its RSA key has ${modulusLength} bits; 2048 to 4096 are accepted`);
      }
      if (publicExponent === 65_537n) return requireUsual(spkiDer, key);
      throw unusable('its RSA key has an unusual exponent; 65537 is accepted');
    default:
      throw unusable(`its key is of type ${key.asymmetricKeyType}; EC, Ed25519 and RSA are accepted`);
  }
}

function isPlainPoint(spkiDer: Uint8Array, { header, length }: { header: Buffer; length: number }): boolean {
  return spkiDer.length === length && header.equals(spkiDer.subarray(0, header.length));
}

function readKey(spkiDer: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spkiDer), format: 'der', type: 'spki' });
  } catch (cause) {
    throw unusable('its public key can not be read', cause);
  }
}

/** One key, one encoding: the one that OpenSSL writes. */
function requireUsual(spkiDer: Uint8Array, key: KeyObject): KeyObject {
  if (!key.export({ format: 'der', type: 'spki' }).equals(spkiDer)) throw unusual();
  return key;
}

/** What a request asks for beside a certificate for its key. */
interface Asked {
  readonly uriSans: string[];
  readonly dnsSans: string[];
  otherSanCount: number;
  asksCa: boolean;
}

/** Attributes (RFC 2986 4.1): of them the extension request is looked into, the others need only be well-formed. */
function readAttributes(attributes: DerReader | undefined): Asked {
  const asked: Asked = { uriSans: [], dnsSans: [], otherSanCount: 0, asksCa: false };
  for (let count = 0; attributes !== undefined && !attributes.atEnd; count++) {
    if (count === maxAttributes) throw unusable(`it has more than ${maxAttributes} attributes`);
    const attribute = attributes.enter(derTag.sequence);
    const type = attribute.oid();
    const values = attribute.enter(derTag.set);
    attribute.finish();
    while (!values.atEnd) {
      if (type === oid.extensionRequest) readExtensions(values.enter(derTag.sequence), asked);
      else values.readAny();
    }
  }
  return asked;
}

function readExtensions(list: DerReader, asked: Asked): void {
  for (let count = 0; !list.atEnd; count++) {
    if (count === maxExtensions) throw unusable(`it asks for more than ${maxExtensions} extensions`);
    const extension = list.enter(derTag.sequence);
    const id = extension.oid();
    if (extension.nextTag === derTag.boolean) extension.boolean();
    const value = extension.read(derTag.octetString);
    extension.finish();
    if (id === oid.subjectAltName) readNames(value, asked);
    if (id === oid.basicConstraints) {
      const constraints = openDer(value);
      if (constraints.nextTag === derTag.boolean && constraints.boolean()) asked.asksCa = true;
    }
    // keyCertSign is bit 5, cRLSign bit 6 (RFC 5280 4.2.1.3).
    if (id === oid.keyUsage && ((new DerReader(value).bitString().bytes[0] ?? 0) & 0x06) !== 0) asked.asksCa = true;
  }
}

function readNames(san: Uint8Array, asked: Asked): void {
  const names = openDer(san);
  while (!names.atEnd) {
    if (asked.uriSans.length + asked.dnsSans.length + asked.otherSanCount === maxNames)
      throw unusable(`it asks for more than ${maxNames} names`);
    const { tag, content } = names.readAny();
    if (tag === contextTag(6)) asked.uriSans.push(latin1(content));
    else if (tag === contextTag(2)) asked.dnsSans.push(latin1(content));
    else asked.otherSanCount += 1;
  }
}

function unusual(): MeshError {
  return unusable('its public key is not encoded in the usual way');
}

function unusable(flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2130', `The certificate request can not be used: ${flaw}.`, { cause });
}
