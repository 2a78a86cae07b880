import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { oneOf } from '../option-kinds.ts';
import type { KeyPair } from './node-key.ts';

/** Kinds of key that an SVID may have: what the identity service accepts in a request, and every peer in a handshake. */
export const keyTypes = ['ec-p256', 'ec-p384', 'ed25519', 'rsa-2048', 'rsa-3072', 'rsa-4096'] as const;
export type KeyType = (typeof keyTypes)[number];

/** Smallest, fastest, and what every TLS stack has. */
export const defaultKeyType = 'ec-p256';

/** Reads a key type. @throws MeshError SLV-1002 */
export const parseKeyType: (text: string) => KeyType = oneOf(...keyTypes);

const generate = promisify(generateKeyPair);

/** A fresh key pair, made in a thread of its own: an RSA key takes up to seconds, in which traffic must go on. */
export function generateKey(type: KeyType): Promise<KeyPair> {
  switch (type) {
    case 'ec-p256':
      return generate('ec', { namedCurve: 'P-256' });
    case 'ec-p384':
      return generate('ec', { namedCurve: 'P-384' });
    case 'ed25519':
      return generate('ed25519');
    case 'rsa-2048':
    case 'rsa-3072':
    case 'rsa-4096':
      return generate('rsa', { modulusLength: Number(type.slice(4)) });
  }
}
