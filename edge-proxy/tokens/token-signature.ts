import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { IssuerKey } from '#policies/jwks.ts';
import type { TokenAlgorithm, TokenFacts } from '#policies/jwt-token.ts';

/** Imported once for the life of a key set. */
const imported = new WeakMap<IssuerKey, KeyObject>();

/** Whether one of the keys has signed the token. In the request's own turn: nothing on its path waits. */
export function isSignedBy(keys: readonly IssuerKey[], { alg, signed, signature }: TokenFacts): boolean {
  const data = Buffer.from(signed, 'latin1');
  return keys.some((key) => {
    try {
      return verifies(alg, data, keyObject(key), signature);
    } catch {
      return false; // a point that is not on its curve, a signature of a wrong length: no key of this token
    }
  });
}

function verifies(alg: TokenAlgorithm, data: Buffer, key: KeyObject, signature: Buffer): boolean {
  if (alg === 'EdDSA') return verify(null, data, key, signature);
  const digest = `sha${alg.slice(2)}`;
  switch (alg.slice(0, 2)) {
    case 'ES':
      return verify(digest, data, { key, dsaEncoding: 'ieee-p1363' }, signature);
    case 'PS':
      return verify(
        digest,
        data,
        { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
        signature,
      );
    default:
      return verify(digest, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
  }
}

function keyObject(key: IssuerKey): KeyObject {
  const known = imported.get(key);
  if (known !== undefined) return known;
  const made = createPublicKey({ key: { ...key.jwk }, format: 'jwk' });
  imported.set(key, made);
  return made;
}
