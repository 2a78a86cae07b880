import { derTag, openDer } from './der.ts';
import { MeshError } from './errors/mesh-error.ts';

/** Public members of a JWK (RFC 7517, 7518, 8037). */
export type PublicJwk =
  | { readonly kty: 'EC'; readonly crv: string; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }
  | { readonly kty: 'OKP'; readonly crv: 'Ed25519'; readonly x: string };

const curves: Readonly<Record<string, { readonly crv: string; readonly size: number }>> = {
  '1.2.840.10045.3.1.7': { crv: 'P-256', size: 32 },
  '1.3.132.0.34': { crv: 'P-384', size: 48 },
  '1.3.132.0.35': { crv: 'P-521', size: 66 },
};

/**
 * The JWK of a public key: EC P-256/384/521, RSA, Ed25519.
 * @param spkiDer SubjectPublicKeyInfo, DER
 * @throws MeshError SLV-5007 when malformed or of another kind
 */
export function publicKeyJwk(spkiDer: Uint8Array): PublicJwk {
  const spki = openDer(spkiDer);
  const algorithm = spki.enter(derTag.sequence);
  const { bytes: key, unusedBits } = spki.bitString();
  spki.finish();
  if (unusedBits !== 0) throw unusable('its BIT STRING is not of whole bytes');
  switch (algorithm.oid()) {
    case '1.2.840.10045.2.1': {
      const curve = curves[algorithm.oid()];
      if (curve === undefined) throw unusable('its curve is none of P-256, P-384, P-521');
      if (key.length !== 1 + 2 * curve.size || key[0] !== 0x04) throw unusable('its point is not uncompressed');
      return {
        kty: 'EC',
        crv: curve.crv,
        x: base64url(key.subarray(1, 1 + curve.size)),
        y: base64url(key.subarray(1 + curve.size)),
      };
    }
    case '1.2.840.113549.1.1.1': {
      const rsa = openDer(key);
      const n = unsigned(rsa.integerBytes());
      const e = unsigned(rsa.integerBytes());
      rsa.finish();
      return { kty: 'RSA', n, e };
    }
    case '1.3.101.112':
      return { kty: 'OKP', crv: 'Ed25519', x: base64url(key) };
    default:
      throw unusable('its algorithm is none of EC, RSA, Ed25519');
  }
}

function unsigned(integer: Uint8Array): string {
  return base64url(integer[0] === 0 ? integer.subarray(1) : integer);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

function unusable(flaw: string): MeshError {
  return new MeshError('SLV-5007', `The public key cannot be used: ${flaw}.`);
}
