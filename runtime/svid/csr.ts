import { type KeyObject, sign } from 'node:crypto';
import { contextTag } from '#policies/der.ts';
import { derBitString, derNull, derOid, derSequence, derUnsigned, derValue, toPem } from '#policies/der-writer.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { KeyPair } from './node-key.ts';

/**
 * A certificate request (PKCS#10, RFC 2986) that says nothing but the key: empty subject, no attributes. What the certificate will say is decided
 * from the attestation, so anything else in here would only be something to ignore.
 *
 * @param key of one of the kinds of key-type.ts
 * @returns PEM
 * @throws MeshError SLV-2130 for a key of another kind
 */
export function makeCsr(key: KeyPair): string {
  const info = derSequence(
    derUnsigned(Uint8Array.of(0)),
    derSequence(),
    key.publicKey.export({ type: 'spki', format: 'der' }),
    derValue(contextTag(0, true)),
  );
  const { algorithm, digest } = signatureOf(key.privateKey);
  const signature = derBitString(sign(digest, info, key.privateKey));
  return toPem('CERTIFICATE REQUEST', derSequence(info, algorithm, signature));
}

/** AlgorithmIdentifier (RFC 5758, 8410, 4055) and digest of a key's signatures. */
function signatureOf(key: KeyObject): { readonly algorithm: Uint8Array; readonly digest: string | null } {
  switch (key.asymmetricKeyType) {
    case 'ec':
      return key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
        ? { algorithm: derSequence(derOid('1.2.840.10045.4.3.3')), digest: 'sha384' }
        : { algorithm: derSequence(derOid('1.2.840.10045.4.3.2')), digest: 'sha256' };
    case 'ed25519':
      return { algorithm: derSequence(derOid('1.3.101.112')), digest: null };
    case 'rsa':
      return { algorithm: derSequence(derOid('1.2.840.113549.1.1.11'), derNull()), digest: 'sha256' };
    default:
      throw new MeshError('SLV-2130', `No request is made for a key of type ${key.asymmetricKeyType}.`);
  }
}
