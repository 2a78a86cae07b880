import { sign } from 'node:crypto';
import {
  derBitString,
  derBoolean,
  derExplicit,
  derOctetString,
  derOid,
  derSequence,
  derTime,
  derUnsigned,
  derValue,
} from '#policies/der-writer.ts';
import type { LeafSigner } from '../leaf-template.ts';

/** Why, as RFC 5280 5.3.1 numbers it; what is not specified is left out, as it asks. */
export type CrlReason = 'unspecified' | 'privilegeWithdrawn';

/** One certificate that is revoked. */
export interface CrlEntry {
  /** Lower-case hex. */
  readonly serial: string;
  readonly revokedAtMs: number;
  readonly reason: CrlReason;
}

/** What varies. */
export interface CrlFields {
  readonly entries: readonly CrlEntry[];
  /** CRL number: greater than that of every CRL of this CA before. */
  readonly number: bigint;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
}

const version2 = derUnsigned(Uint8Array.of(1));
const ecdsaWithSha256 = derSequence(derOid('1.2.840.10045.4.3.2'));
const privilegeWithdrawn = derSequence(
  derSequence(derOid('2.5.29.21'), derOctetString(derValue(0x0a, Uint8Array.of(9)))),
);

/** A complete CRL (RFC 5280 5), signed by the CA whose certificates it is about. @returns DER */
export function makeCrl(signer: LeafSigner, { entries, number, thisUpdateMs, nextUpdateMs }: CrlFields): Uint8Array {
  const revoked = entries.map(({ serial, revokedAtMs, reason }) =>
    derSequence(
      derUnsigned(octetsOf(serial)),
      derTime(revokedAtMs),
      ...(reason === 'unspecified' ? [] : [privilegeWithdrawn]),
    ),
  );
  const tbs = derSequence(
    version2,
    ecdsaWithSha256,
    signer.subjectDer,
    derTime(thisUpdateMs),
    derTime(nextUpdateMs),
    // An empty list must be absent (RFC 5280 5.1.2.6).
    ...(revoked.length === 0 ? [] : [derSequence(...revoked)]),
    derExplicit(
      0,
      derSequence(
        extension('2.5.29.35', derSequence(derValue(0x80, signer.keyId))),
        extension('2.5.29.20', derUnsigned(octetsOf(number.toString(16)))),
        // It lists end entities only: an issuing CA that is revoked is on no list that it signs itself.
        derSequence(
          derOid('2.5.29.28'),
          derBoolean(true),
          derOctetString(derSequence(derValue(0x81, Uint8Array.of(0xff)))),
        ),
      ),
    ),
  );
  return derSequence(tbs, ecdsaWithSha256, derBitString(sign('sha256', tbs, signer.key)));
}

function octetsOf(hex: string): Uint8Array {
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
}

function extension(oid: string, value: Uint8Array): Uint8Array {
  return derSequence(derOid(oid), derOctetString(value));
}
