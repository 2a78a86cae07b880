import { z } from 'zod';
import type { PublicJwk } from './public-key-jwk.ts';

/** A key that signs JWT-SVIDs of a trust domain, as its bundle shows it (SPIFFE bundle 4.2.3). */
export interface JwtAuthority {
  /** By which a token names it. */
  readonly kid: string;
  /** Public members only. */
  readonly jwk: JwtKey;
}

/** Kinds of key that a JWT-SVID can be signed with (JWT-SVID 2.1). */
export type JwtKey = Exclude<PublicJwk, { kty: 'OKP' }>;

/** Longest `kid` that is read, in characters. */
export const maxKidLength = 256;
/** Octets of a coordinate (RFC 7518 6.2.1.2). */
const coordinateBytes: Readonly<Record<string, number>> = { 'P-256': 32, 'P-384': 48, 'P-521': 66 };
/** RSA below 2048 bits verifies nothing (RFC 7518 3.3); above 8192 it costs too much. */
const rsaBytes = { least: 256, most: 1_024 };

const base64url = z.string().regex(/^[A-Za-z0-9_-]{1,1400}$/);
const authoritySchema = z.intersection(
  z.object({ kid: z.string().min(1).max(maxKidLength) }),
  z.discriminatedUnion('kty', [
    z.object({ kty: z.literal('EC'), crv: z.string(), x: base64url, y: base64url }),
    z.object({ kty: z.literal('RSA'), n: base64url, e: base64url }),
  ]),
);

/**
 * Reads a `jwt-svid` key of a bundle.
 * @returns undefined for one that can verify nothing here: without `kid`, of an unknown type or curve, of a wrong size. Such a key must not take the
 *   rest of its bundle down; tokens that name it are refused
 */
export function readJwtAuthority(entry: unknown): JwtAuthority | undefined {
  const parsed = authoritySchema.safeParse(entry);
  if (!parsed.success) return undefined;
  const key = parsed.data;
  if (key.kty === 'EC') {
    const { kid, kty, crv, x, y } = key;
    const size = coordinateBytes[crv];
    return size === undefined || octets(x) !== size || octets(y) !== size
      ? undefined
      : { kid, jwk: { kty, crv, x, y } };
  }
  const { kid, kty, n, e } = key;
  const size = octets(n);
  return size < rsaBytes.least || size > rsaBytes.most || octets(e) > 8 ? undefined : { kid, jwk: { kty, n, e } };
}

function octets(text: string): number {
  return Buffer.from(text, 'base64url').length;
}
