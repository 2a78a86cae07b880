import { createHash, timingSafeEqual } from 'node:crypto';
import type { RandomBytes } from '#runtime/clock.ts';

/** Random bytes of a secret: more than can be guessed, so one round of a fast hash keeps it. */
const secretBytes = 32;

/** A token when it is made: the only moment at which its secret is known here. */
export interface FreshToken {
  /** UUID. */
  readonly accessor: string;
  /** `slvt_<accessor>_<256 random bits>`: one word to select, and one that scanners for leaked secrets can know. */
  readonly secret: string;
  readonly secretHash: string;
}

/** Makes a token. Its secret carries the accessor, so that looking it up compares no secret. */
export function freshToken(randomBytes: RandomBytes): FreshToken {
  const hex = Buffer.from(randomBytes(16)).toString('hex');
  const [, a, b, c, d, e] = /^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/.exec(hex) ?? [];
  const accessor = `${a}-${b}-4${c}-8${d}-${e}`; // UUID version 4 (RFC 9562)
  const secret = `slvt_${accessor.replaceAll('-', '')}_${Buffer.from(randomBytes(secretBytes)).toString('base64url')}`;
  return { accessor, secret, secretHash: digestOf(secret).toString('hex') };
}

/** @returns the accessor that a secret carries; undefined for what has not the form of one */
export function accessorOf(secret: string): string | undefined {
  if (secret.length !== 'slvt_'.length + 32 + 1 + 43) return undefined;
  const [, a, b, c, d, e] =
    /^slvt_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})_[\w-]{43}$/.exec(secret) ?? [];
  return a === undefined ? undefined : `${a}-${b}-${c}-${d}-${e}`;
}

/** @returns a text with no secret in it: who takes one for an accessor puts it into a path, and paths are logged */
export function withoutSecrets(text: string): string {
  return text.replace(/slvt_([0-9a-f]{32})_[\w-]*/g, 'slvt_$1_…');
}

/** Compares in constant time. @param secretHash SHA-256, hex */
export function secretFits(secret: string, secretHash: string): boolean {
  const expected = Buffer.from(secretHash, 'hex');
  const digest = digestOf(secret);
  return expected.length === digest.length && timingSafeEqual(digest, expected);
}

function digestOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
