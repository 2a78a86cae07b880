import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { createFileOnceSync, readFileBoundedSync } from '../atomic-file.ts';

/** An EC P-256 key pair that was made in this process (invariant 6). */
export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A fresh EC P-256 key pair: of an SVID, or of a node that keeps no state. */
export function makeKeyPair(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** PKCS#8 PEM, for a 0600 file or TLS. */
export function privateKeyPem(key: KeyPair): string {
  return key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** SPKI PEM. */
export function publicKeyPem(key: KeyPair): string {
  return key.publicKey.export({ type: 'spki', format: 'pem' }).toString();
}

/**
 * The node's key: made the first time, 0600, read ever after. It outlives every SVID: with it a node whose SVIDs lapsed comes back by itself.
 * Throws SLV-1005 when the file is unusable.
 */
export function loadOrCreateNodeKey(path: string): KeyPair {
  createFileOnceSync(path, privateKeyPem(makeKeyPair()));
  const pem = readFileBoundedSync(path, 4_096) ?? Buffer.alloc(0);
  try {
    const privateKey = createPrivateKey(pem);
    if (privateKey.asymmetricKeyDetails?.namedCurve === 'prime256v1') {
      return { privateKey, publicKey: createPublicKey(privateKey) };
    }
  } catch (cause) {
    throw new MeshError('SLV-1005', `${path} holds no private key.`, { detail: { path }, cause });
  }
  throw new MeshError('SLV-1005', `${path} holds a key that is not EC P-256.`, { detail: { path } });
}
