import { sign } from 'node:crypto';
import { contextTag } from '#policies/der.ts';
import { derBitString, derOid, derSequence, derUnsigned, derValue, toPem } from '#policies/der-writer.ts';
import type { KeyPair } from './node-key.ts';

/**
 * A certificate request (PKCS#10, RFC 2986) that says nothing but the key: empty subject, no attributes. What the certificate will say is decided
 * from the attestation, so anything else in here would only be something to ignore.
 *
 * @param key EC P-256
 * @returns PEM
 */
export function makeCsr(key: KeyPair): string {
  const info = derSequence(
    derUnsigned(Uint8Array.of(0)),
    derSequence(),
    key.publicKey.export({ type: 'spki', format: 'der' }),
    derValue(contextTag(0, true)),
  );
  const ecdsaWithSha256 = derSequence(derOid('1.2.840.10045.4.3.2'));
  const signature = derBitString(sign('sha256', info, key.privateKey));
  return toPem('CERTIFICATE REQUEST', derSequence(info, ecdsaWithSha256, signature));
}
