import { z } from 'zod';
import { MeshError } from './errors/mesh-error.ts';
import { type JwtKey, maxKidLength, readJwtAuthority } from './jwt-authority.ts';
import { parseStrictJson } from './strict-json.ts';

/** Most bytes of a key set, and keys in one. */
export const maxJwksBytes = 65_536;
const maxKeys = 64;

/** A public key that tokens of an issuer are signed with (RFC 7517). */
export interface IssuerKey {
  /** By which a token names it; undefined: tokens name none. */
  readonly kid?: string;
  /** The one algorithm that it is for; undefined: any of its kind. */
  readonly alg?: string;
  readonly jwk: JwtKey | Ed25519Key;
}

/** RFC 8037. */
export interface Ed25519Key {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
}

const entrySchema = z.looseObject({
  kty: z.string(),
  kid: z.string().min(1).max(maxKidLength).optional(),
  alg: z.string().max(32).optional(),
  use: z.string().optional(),
});
const jwksSchema = z.looseObject({ keys: z.array(z.unknown()).max(maxKeys) });
const ed25519Schema = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
});

/**
 * Reads a JSON Web Key Set. Symmetric and private keys, keys for encryption and keys of kinds that nothing is verified with here are passed over: of a set that
 * others use too, the rest must go on working. Public members only are taken over.
 * @throws MeshError SLV-5010 when it is no key set, or nothing of it can be used
 */
export function readJwks(text: string): IssuerKey[] {
  if (text.length > maxJwksBytes) throw new MeshError('SLV-5010', `The key set is larger than ${maxJwksBytes} bytes.`);
  let value: unknown;
  try {
    value = parseStrictJson(text);
  } catch (cause) {
    throw new MeshError('SLV-5010', 'The key set is not JSON that has one meaning.', { cause });
  }
  const parsed = jwksSchema.safeParse(value);
  if (!parsed.success)
    throw new MeshError('SLV-5010', `The key set is not {"keys": [...]} of at most ${maxKeys} keys.`);
  const keys = parsed.data.keys.flatMap(readKey);
  if (keys.length === 0) {
    throw new MeshError(
      'SLV-5010',
      'The key set has no key of a kind that is used here: EC P-256, P-384, P-521, RSA from 2048 bits, Ed25519.',
    );
  }
  return keys;
}

function readKey(value: unknown): IssuerKey[] {
  const entry = entrySchema.safeParse(value);
  if (!entry.success) return [];
  const { kid, alg, use } = entry.data;
  if (use !== undefined && use !== 'sig') return [];
  const ed25519 = ed25519Schema.safeParse(entry.data);
  const jwk = ed25519.success ? ed25519.data : readJwtAuthority({ ...entry.data, kid: kid ?? 'unnamed' })?.jwk;
  if (jwk === undefined) return [];
  return [{ ...(kid === undefined ? {} : { kid }), ...(alg === undefined ? {} : { alg }), jwk }];
}
