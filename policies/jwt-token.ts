import { z } from 'zod';
import { decodeJwsPart, splitCompactJws } from './compact-jws.ts';
import type { IssuerKey } from './jwks.ts';
import { maxKidLength } from './jwt-authority.ts';
import { quote } from './quote.ts';

/** Signature algorithms of tokens: none with a shared secret, and not "none". */
export const tokenAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;
export type TokenAlgorithm = (typeof tokenAlgorithms)[number];

/** What the tokens of a provider have to be. */
export interface TokenExpectation {
  /** Undefined: whoever has the keys. */
  readonly issuer: string | undefined;
  /** One of them; [] any. */
  readonly audiences: readonly string[];
  readonly clockSkewMs: number;
}

/** What a token says, before its signature is verified. */
export interface TokenFacts {
  readonly alg: TokenAlgorithm;
  readonly kid: string | undefined;
  readonly claims: Readonly<Record<string, unknown>>;
  /** The payload, as it came: base64url. */
  readonly payload: string;
  /** What is signed. */
  readonly signed: string;
  readonly signature: Buffer;
  /** From then on it is not valid: its `exp`, and what clocks may differ. */
  readonly untilMs: number;
}

/** Longest token in characters: what fits into a head. */
export const maxTokenLength = 16_384;

const headerSchema = z.looseObject({ alg: z.enum(tokenAlgorithms), kid: z.string().max(maxKidLength).optional() });
const numericDate = z.number().min(0).max(253_402_300_799);
const claimsSchema = z.looseObject({
  iss: z.string().optional(),
  aud: z.union([z.string(), z.array(z.string()).max(64)]).optional(),
  exp: numericDate,
  nbf: numericDate.optional(),
});

/**
 * Reads a token (RFC 7519) and holds it against all that can be told without its key. Stricter than Envoy in one thing: a token without an end is refused.
 * @returns a text: why it is refused
 */
export function readToken(token: string, expected: TokenExpectation, nowMs: number): TokenFacts | string {
  if (token.length > maxTokenLength) return `the token is longer than ${maxTokenLength} characters`;
  const parts = splitCompactJws(token);
  if (parts === undefined) return 'the token is not a compact JWS';
  let header: unknown;
  let payload: unknown;
  try {
    header = decodeJwsPart(parts.header);
    payload = decodeJwsPart(parts.payload);
  } catch {
    return 'the token is not JSON that has one meaning'; // there is no more to say of it
  }
  if (typeof header === 'object' && header !== null && Object.hasOwn(header, 'crit')) {
    return 'the token demands extensions that are not known';
  }
  const head = headerSchema.safeParse(header);
  if (!head.success) return 'the algorithm of the token is none of RS, PS, ES with 256, 384, 512, EdDSA';
  const claims = claimsSchema.safeParse(payload);
  if (!claims.success)
    return `the token has no ${String(claims.error.issues[0]?.path[0] ?? 'claims')} that can be read`;
  const { iss, aud = [], exp, nbf = 0 } = claims.data;
  if (expected.issuer !== undefined && iss !== expected.issuer)
    return `the token is of another issuer, ${quote(iss ?? '')}`;
  const audiences = typeof aud === 'string' ? [aud] : aud;
  if (expected.audiences.length > 0 && !expected.audiences.some((one) => audiences.includes(one))) {
    return 'the token is for another audience';
  }
  const untilMs = exp * 1_000 + expected.clockSkewMs;
  if (nowMs >= untilMs) return `the token expired at ${new Date(exp * 1_000).toISOString()}`;
  if (nbf * 1_000 > nowMs + expected.clockSkewMs) return 'the token is not valid yet';
  return {
    alg: head.data.alg,
    kid: head.data.kid,
    claims: claims.data,
    payload: parts.payload,
    signed: `${parts.header}.${parts.payload}`,
    signature: Buffer.from(parts.signature, 'base64url'),
    untilMs,
  };
}

/** Kind of key that an algorithm needs, and the curve where it has but one. */
const keyOf: Readonly<Record<TokenAlgorithm, readonly [kty: string, crv?: string]>> = {
  RS256: ['RSA'],
  RS384: ['RSA'],
  RS512: ['RSA'],
  PS256: ['RSA'],
  PS384: ['RSA'],
  PS512: ['RSA'],
  ES256: ['EC', 'P-256'],
  ES384: ['EC', 'P-384'],
  ES512: ['EC', 'P-521'],
  EdDSA: ['OKP', 'Ed25519'],
};
/** Keys that are tried for one token. */
const maxTried = 8;

/** The keys that may have signed a token: of its kind, for its algorithm, and of its name, or without one. */
export function candidateKeys(keys: readonly IssuerKey[], { alg, kid }: Pick<TokenFacts, 'alg' | 'kid'>): IssuerKey[] {
  const [kty, crv] = keyOf[alg];
  return keys
    .filter(({ jwk }) => jwk.kty === kty && (crv === undefined || ('crv' in jwk && jwk.crv === crv)))
    .filter((key) => key.alg === undefined || key.alg === alg)
    .filter((key) => kid === undefined || key.kid === undefined || key.kid === kid)
    .slice(0, maxTried);
}
