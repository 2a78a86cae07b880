import { contextTag, DerReader, derTag, latin1, openDer } from './der.ts';
import { isMeshError, MeshError } from './errors/mesh-error.ts';

/** Bits of KeyUsage (RFC 5280 4.2.1.3) that SPIFFE speaks of. */
export interface KeyUsage {
  readonly digitalSignature: boolean;
  readonly keyCertSign: boolean;
  readonly crlSign: boolean;
}

/** What a certificate says, as far as X509-SVID asks. Read, not verified. */
export interface LeafFacts {
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  /** Names in the SAN that are neither URI nor DNS. */
  readonly otherSanCount: number;
  readonly isCa: boolean;
  readonly keyUsage: KeyUsage | undefined;
  readonly keyUsageCritical: boolean;
  /** OIDs in dotted form. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Lower-case hex without leading zero octets. */
  readonly serialHex: string;
  /** SubjectKeyIdentifier (RFC 5280 4.2.1.2); a view. */
  readonly subjectKeyId: Uint8Array | undefined;
  /** SubjectPublicKeyInfo, DER; a view. */
  readonly spkiDer: Uint8Array;
  readonly subjectEmpty: boolean;
  readonly sanCritical: boolean;
}

const oid = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** Most extensions in a certificate, and most names in a SAN. */
const maxExtensions = 64;
const maxNames = 256;

interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/**
 * Reads an X.509 v3 certificate strictly (RFC 5280 4.1), its signature unverified.
 * @param der the certificate, at most 64 KiB
 * @throws MeshError SLV-5003 on anything malformed, and nothing else
 */
export function readCertificate(der: Uint8Array): LeafFacts {
  try {
    return readFacts(der);
  } catch (error) {
    if (!isMeshError(error, 'SLV-5007')) throw error;
    throw new MeshError('SLV-5003', `The certificate cannot be read: ${lowerFirst(error.message)}`, { cause: error });
  }
}

/**
 * The SubjectPublicKeyInfo of a certificate.
 * @returns DER, a view
 * @throws MeshError SLV-5003
 */
export function certificateSpki(der: Uint8Array): Uint8Array {
  return readCertificate(der).spkiDer;
}

function readFacts(der: Uint8Array): LeafFacts {
  const certificate = openDer(der);
  const tbs = certificate.enter(derTag.sequence);
  const outerAlgorithm = certificate.readWhole(derTag.sequence);
  if (certificate.bitString().unusedBits !== 0) throw malformed('its signature is not of whole bytes');
  certificate.finish();

  const version = tbs.enterOptional(contextTag(0, true));
  const versionNumber = version?.smallInteger() ?? 0;
  version?.finish();
  if (versionNumber !== 2) throw malformed('it is not of version 3');
  const serialHex = readSerial(tbs);
  if (!Buffer.from(tbs.readWhole(derTag.sequence)).equals(outerAlgorithm)) {
    throw malformed('it names two signature algorithms');
  }
  tbs.read(derTag.sequence); // issuer
  const validity = tbs.enter(derTag.sequence);
  const notBeforeMs = validity.timeMs();
  const notAfterMs = validity.timeMs();
  validity.finish();
  const subjectEmpty = tbs.read(derTag.sequence).length === 0;
  const spkiDer = tbs.readWhole(derTag.sequence);
  const spki = openDer(spkiDer);
  spki.read(derTag.sequence);
  spki.bitString();
  spki.finish();
  // issuerUniqueID, subjectUniqueID: BIT STRINGs that nobody uses.
  for (const number of [1, 2]) if (tbs.nextTag === contextTag(number)) tbs.bitString(contextTag(number));
  const extensions = readExtensions(tbs);
  tbs.finish();

  const san = extensions.get(oid.subjectAltName);
  const usage = extensions.get(oid.keyUsage);
  const extended = extensions.get(oid.extendedKeyUsage);
  const constraints = extensions.get(oid.basicConstraints);
  return {
    ...readNames(san?.value),
    isCa: constraints === undefined ? false : readIsCa(constraints.value),
    keyUsage: usage === undefined ? undefined : readKeyUsage(usage.value),
    keyUsageCritical: usage?.critical ?? false,
    extendedKeyUsage: extended === undefined ? undefined : readPurposes(extended.value),
    notBeforeMs,
    notAfterMs,
    serialHex,
    subjectKeyId: readKeyId(extensions.get(oid.subjectKeyId)?.value),
    spkiDer,
    subjectEmpty,
    sanCritical: san?.critical ?? false,
  };
}

/** Of no weight for trust, so one that is malformed counts as absent. */
function readKeyId(value: Uint8Array | undefined): Uint8Array | undefined {
  return value?.[0] === derTag.octetString && value[1] === value.length - 2 ? value.subarray(2) : undefined;
}

/** Positive, at most 20 octets (RFC 5280 4.1.2.2). */
function readSerial(tbs: DerReader): string {
  const serial = tbs.integerBytes();
  const first = serial[0] ?? 0;
  if (first >= 0x80 || (serial.length === 1 && first === 0)) throw malformed('its serial number is not positive');
  const magnitude = first === 0 ? serial.subarray(1) : serial;
  if (magnitude.length > 20) throw malformed('its serial number is longer than 20 octets');
  return Buffer.from(magnitude).toString('hex');
}

/** Each at most once (RFC 5280 4.2): of two readers, one would take the first and one the last. */
function readExtensions(tbs: DerReader): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  const wrapper = tbs.enterOptional(contextTag(3, true));
  if (wrapper === undefined) return extensions;
  const list = wrapper.enter(derTag.sequence);
  wrapper.finish();
  if (list.atEnd) throw malformed('its list of extensions is empty');
  while (!list.atEnd) {
    const extension = list.enter(derTag.sequence);
    const id = extension.oid();
    const critical = extension.nextTag === derTag.boolean ? extension.boolean() : false;
    const value = extension.read(derTag.octetString);
    extension.finish();
    if (extensions.has(id)) throw malformed(`it has the extension ${id} twice`);
    if (extensions.size === maxExtensions) throw malformed(`it has more than ${maxExtensions} extensions`);
    extensions.set(id, { critical, value });
  }
  return extensions;
}

/** GeneralNames (RFC 5280 4.2.1.6). Names are IA5: a byte above 0x7f, or a NUL that would end it in C, is refused. */
function readNames(san: Uint8Array | undefined): Pick<LeafFacts, 'uriSans' | 'dnsSans' | 'otherSanCount'> {
  const uriSans: string[] = [];
  const dnsSans: string[] = [];
  let otherSanCount = 0;
  if (san === undefined) return { uriSans, dnsSans, otherSanCount };
  const names = openDer(san);
  if (names.atEnd) throw malformed('its SAN is empty');
  for (let count = 0; !names.atEnd; count++) {
    if (count === maxNames) throw malformed(`its SAN has more than ${maxNames} names`);
    const { tag, content } = names.readAny();
    if (tag === contextTag(6)) uriSans.push(ia5(content));
    else if (tag === contextTag(2)) dnsSans.push(ia5(content));
    else if ((tag & 0xc0) === 0x80) otherSanCount += 1;
    else throw malformed('its SAN holds what is no name');
  }
  return { uriSans, dnsSans, otherSanCount };
}

function ia5(content: Uint8Array): string {
  if (content.some((octet) => octet === 0 || octet >= 0x80)) throw malformed('a name in its SAN is not IA5 text');
  return latin1(content);
}

function readIsCa(value: Uint8Array): boolean {
  const constraints = openDer(value);
  const isCa = constraints.nextTag === derTag.boolean ? constraints.boolean() : false;
  if (constraints.nextTag === derTag.integer) constraints.smallInteger();
  constraints.finish();
  return isCa;
}

function readKeyUsage(value: Uint8Array): KeyUsage {
  const { bytes } = openBitString(value);
  const first = bytes[0] ?? 0;
  return {
    digitalSignature: (first & 0x80) !== 0,
    keyCertSign: (first & 0x04) !== 0,
    crlSign: (first & 0x02) !== 0,
  };
}

function openBitString(value: Uint8Array): { readonly bytes: Uint8Array } {
  const reader = new DerReader(value);
  const bits = reader.bitString();
  reader.finish();
  return bits;
}

function readPurposes(value: Uint8Array): readonly string[] {
  const list = openDer(value);
  const purposes: string[] = [];
  while (!list.atEnd) {
    if (purposes.length === maxNames) throw malformed('it has too many extended key usages');
    purposes.push(list.oid());
  }
  if (purposes.length === 0) throw malformed('its list of extended key usages is empty');
  return purposes;
}

function malformed(flaw: string): MeshError {
  return new MeshError('SLV-5003', `The certificate is malformed: ${flaw}.`);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
