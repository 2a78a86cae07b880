import { hash, type KeyObject } from 'node:crypto';
import { derTag, openDer } from '#policies/der.ts';
import {
  derBitString,
  derBoolean,
  derExplicit,
  derNamedBits,
  derOctetString,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
  derValue,
} from '#policies/der-writer.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import { signSideBySide } from '#runtime/svid/side-by-side.ts';

/**
 * Makes X.509-SVID leaves by splicing DER: only serial, validity, key, SKI and SAN vary, all else is encoded once. A general library costs 3 to 5 ms
 * of CPU a leaf where this costs a few tenths (reference/identity.md section 6), and there is nothing in it that a caller can turn. Its test holds
 * @peculiar/x509 and OpenSSL against it.
 */

/** The issuing CA as the template needs it. */
export interface LeafSigner {
  /** Its subject, a DER Name. */
  readonly subjectDer: Uint8Array;
  /** Its subject key identifier. */
  readonly keyId: Uint8Array;
  /** EC P-256. */
  readonly key: KeyObject;
}

/** What varies. */
export interface LeafFields {
  /** SubjectPublicKeyInfo, DER. */
  readonly spkiDer: Uint8Array;
  readonly spiffeId: SpiffeId;
  /** DNS names beside it: IA5, not empty. */
  readonly dnsSans: readonly string[];
  /** Big-endian, positive, at most 20 octets. */
  readonly serial: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const version3 = derExplicit(0, derUnsigned(Uint8Array.of(2)));
const ecdsaWithSha256 = derSequence(derOid('1.2.840.10045.4.3.2'));
const emptySubject = derSequence();
/** Encoded once: what names an extension, and that it is critical. */
const subjectKeyId = derOid('2.5.29.14');
const authorityKeyId = derOid('2.5.29.35');
const subjectAltName = derOid('2.5.29.17');
const critical = derBoolean(true);
const keyUsage = derSequence(derOid('2.5.29.15'), critical, derOctetString(derNamedBits(0)));
const extendedKeyUsage = extension(
  derOid('2.5.29.37'),
  derSequence(derOid('1.3.6.1.5.5.7.3.1'), derOid('1.3.6.1.5.5.7.3.2')),
);
const notCa = derSequence(derOid('2.5.29.19'), critical, derOctetString(derSequence()));

/** @returns the signed certificate, DER */
export async function makeLeaf(signer: LeafSigner, fields: LeafFields): Promise<Uint8Array> {
  const names = [
    derValue(0x86, Buffer.from(fields.spiffeId, 'latin1')),
    ...fields.dnsSans.map((name) => derValue(0x82, Buffer.from(name, 'latin1'))),
  ];
  const tbs = derSequence(
    version3,
    derUnsigned(fields.serial),
    ecdsaWithSha256,
    signer.subjectDer,
    derSequence(derTime(fields.notBeforeMs), derTime(fields.notAfterMs)),
    emptySubject,
    fields.spkiDer,
    derExplicit(
      3,
      derSequence(
        keyUsage,
        extendedKeyUsage,
        notCa,
        extension(subjectKeyId, derOctetString(keyIdentifier(fields.spkiDer))),
        extension(authorityKeyId, derSequence(derValue(0x80, signer.keyId))),
        // Critical because the subject is empty (RFC 5280 4.2.1.6).
        derSequence(subjectAltName, critical, derOctetString(derSequence(...names))),
      ),
    ),
  );
  return derSequence(tbs, ecdsaWithSha256, derBitString(await signSideBySide('sha256', tbs, signer.key)));
}

/** Subject key identifier: the leftmost 160 bits of SHA-256 over the public key (RFC 7093 section 2, method 1). */
export function keyIdentifier(spkiDer: Uint8Array): Uint8Array {
  const spki = openDer(spkiDer);
  spki.read(derTag.sequence);
  return hash('sha256', spki.bitString().bytes, 'buffer').subarray(0, 20);
}

/** A serial number of 134 random bits: positive, of constant length (17 octets), and never to be guessed or met twice. */
export function serialNumber(randomBytes: (size: number) => Uint8Array): Uint8Array {
  const serial = Uint8Array.from(randomBytes(17));
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

function extension(oid: Uint8Array, value: Uint8Array): Uint8Array {
  return derSequence(oid, derOctetString(value));
}
