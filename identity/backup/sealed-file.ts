import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { MeshError } from '#policies/errors/mesh-error.ts';

/**
 * A secret sealed with a passphrase, version 1, all of it by node:crypto: the line `selvedge-sealed-1`, 16 bytes of salt, 12 of nonce, 16 of tag, then AES-256-GCM over gzip.
 * The key is scrypt (RFC 7914) of the passphrase with N = 2^17, r = 8, p = 1; the line, salt and nonce are authenticated too. The parameters belong to the version: a
 * file can not ask for weaker ones, nor for more memory.
 */

const magic = Buffer.from('selvedge-sealed-1\n');
const saltBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;
const scryptCost = { N: 131_072, r: 8, p: 1, maxmem: 256 * 1024 * 1024 };
/** Of what is sealed: a hundred thousand nodes fit. */
export const maxSealedBytes = 1024 * 1024 * 1024;
/** A passphrase is what stands between a stolen backup and the CA. */
export const leastPassphraseLength = 16;

const deriveKey = promisify<string, Uint8Array, number, typeof scryptCost, Buffer>(scrypt);

/** Seals `content`. @throws MeshError SLV-1002 for a passphrase that is too short */
export async function seal(content: Uint8Array, passphrase: string): Promise<Buffer> {
  if (passphrase.length < leastPassphraseLength) {
    throw new MeshError('SLV-1002', `A passphrase has ${leastPassphraseLength} characters or more.`);
  }
  const head = Buffer.concat([magic, randomBytes(saltBytes + nonceBytes)]);
  const salt = head.subarray(magic.length, magic.length + saltBytes);
  const nonce = head.subarray(magic.length + saltBytes);
  const cipher = createCipheriv('aes-256-gcm', await deriveKey(passphrase, salt, 32, scryptCost), nonce);
  cipher.setAAD(head);
  const body = Buffer.concat([cipher.update(await promisify(gzip)(content)), cipher.final()]);
  return Buffer.concat([head, cipher.getAuthTag(), body]);
}

/** Opens what `seal` made. @throws MeshError SLV-2186 for another passphrase, and for every byte that was changed, added or cut off */
export async function unseal(sealed: Uint8Array, passphrase: string): Promise<Buffer> {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const headBytes = magic.length + saltBytes + nonceBytes;
  if (bytes.length < headBytes + tagBytes || !bytes.subarray(0, magic.length).equals(magic)) {
    throw new MeshError('SLV-2186', 'This file is no backup of an identity service.');
  }
  const salt = bytes.subarray(magic.length, magic.length + saltBytes);
  const nonce = bytes.subarray(magic.length + saltBytes, headBytes);
  const key = await deriveKey(passphrase, salt, 32, scryptCost);
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes });
    decipher.setAAD(bytes.subarray(0, headBytes));
    decipher.setAuthTag(bytes.subarray(headBytes, headBytes + tagBytes));
    const body = Buffer.concat([decipher.update(bytes.subarray(headBytes + tagBytes)), decipher.final()]);
    return await promisify(gunzip)(body, { maxOutputLength: maxSealedBytes });
  } catch (cause) {
    throw new MeshError('SLV-2186', 'The passphrase is another, or the file is not what was written.', { cause });
  }
}
