import { z } from 'zod';
import { decodeJwsPart, splitCompactJws } from './compact-jws.ts';
import { MeshError } from './errors/mesh-error.ts';
import { quote } from './quote.ts';
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts';

/** What a JWT-SVID says. Read and held against every rule of JWT-SVID but its signature, which runtime/svid/jwt-svid.ts verifies. */
export interface JwtSvidFacts {
  readonly alg: JwtSvidAlgorithm;
  /** Which key of the bundle signed it. */
  readonly kid: string;
  readonly spiffeId: SpiffeId;
  readonly audience: readonly string[];
  readonly expiresAtMs: number;
  /** All claims, as they came. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Signature algorithms that a JWT-SVID may have (JWT-SVID 2.1); any other is refused. */
export const jwtSvidAlgorithms: readonly JwtSvidAlgorithm[] = [
  'RS256',
  'RS384',
  'RS512',
  'ES256',
  'ES384',
  'ES512',
  'PS256',
  'PS384',
  'PS512',
];
export type JwtSvidAlgorithm = `${'RS' | 'ES' | 'PS'}${'256' | '384' | '512'}`;

/** The rule that a refused token broke: `detail.rule` of SLV-2195. */
export type JwtSvidFlaw =
  | 'too-large'
  | 'not-compact'
  | 'malformed-header'
  | 'unknown-header'
  | 'algorithm'
  | 'type'
  | 'no-key-id'
  | 'malformed-claims'
  | 'subject'
  | 'audience'
  | 'expiry'
  | 'expired'
  | 'not-yet-valid'
  | 'unknown-trust-domain'
  | 'unknown-key'
  | 'bad-signature'
  | 'revoked';

/** Longest token that is read, in characters: what fits into a header of HTTP. */
export const maxJwtSvidLength = 16_384;
/** How far clocks may differ. */
const skewMs = 60_000;

const numericDate = z.number().min(0).max(253_402_300_799);
const claimsSchema = z.looseObject({
  sub: z.string(),
  aud: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(64)]),
  exp: numericDate,
  nbf: numericDate.optional(),
  iat: numericDate.optional(),
});

/**
 * Reads a JWT-SVID to the letter of JWT-SVID.md: compact serialisation, no header but `alg`, `kid` and `typ`, `sub` a SPIFFE ID, `aud` holding the
 * reader's own name, `exp` there. As go-spiffe: a token without `kid` is refused, clocks may differ by a minute, `nbf` and `iat` are heeded.
 *
 * @param expected.audience the reader's own name
 * @throws MeshError SLV-2195 with the broken rule in `detail.rule`, and nothing else
 */
export function readJwtSvid(
  token: string,
  expected: { readonly audience: string; readonly nowMs: number },
): JwtSvidFacts {
  if (token.length > maxJwtSvidLength)
    throw refusedJwtSvid('too-large', `it is longer than ${maxJwtSvidLength} characters`);
  const parts = splitCompactJws(token);
  if (parts === undefined) {
    throw refusedJwtSvid('not-compact', 'it is not three parts of base64url, as a compact JWS is');
  }
  const { header, payload } = parts;
  const { alg, kid } = readHeader(header);
  const claims = claimsSchema.safeParse(decode(payload, 'malformed-claims'));
  if (!claims.success) throw flawOfClaims(claims.error);
  const { sub, aud, exp, nbf, iat } = claims.data;
  const audience = typeof aud === 'string' ? [aud] : aud;
  if (!audience.includes(expected.audience))
    throw refusedJwtSvid('audience', `it is for ${audience.slice(0, 8).map(quote).join(', ')}`);
  const expiresAtMs = exp * 1_000;
  if (expected.nowMs > expiresAtMs + skewMs)
    throw refusedJwtSvid('expired', `it expired at ${new Date(expiresAtMs).toISOString()}`);
  if (Math.max(nbf ?? 0, iat ?? 0) * 1_000 > expected.nowMs + skewMs) {
    throw refusedJwtSvid('not-yet-valid', 'it begins in the future');
  }
  return { alg, kid, spiffeId: readSubject(sub), audience, expiresAtMs, claims: claims.data };
}

/** A refusal of a JWT-SVID. */
export function refusedJwtSvid(rule: JwtSvidFlaw, what: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2195', `The JWT-SVID is refused: ${what}.`, { detail: { rule }, cause });
}

function readHeader(encoded: string): { alg: JwtSvidAlgorithm; kid: string } {
  const header = decode(encoded, 'malformed-header');
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw refusedJwtSvid('malformed-header', 'its header is not an object');
  const { alg, kid, typ, ...others } = header as Record<string, unknown>;
  const [other] = Object.keys(others);
  if (other !== undefined) throw refusedJwtSvid('unknown-header', `its header has ${quote(other)}`);
  if (!isAlgorithm(alg)) throw refusedJwtSvid('algorithm', 'its algorithm is none of RS, ES, PS with 256, 384, 512');
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE')
    throw refusedJwtSvid('type', 'its type is neither JWT nor JOSE');
  if (typeof kid !== 'string' || kid === '') throw refusedJwtSvid('no-key-id', 'it does not name its key (kid)');
  return { alg, kid };
}

function isAlgorithm(alg: unknown): alg is JwtSvidAlgorithm {
  return (jwtSvidAlgorithms as readonly unknown[]).includes(alg);
}

function decode(encoded: string, rule: 'malformed-header' | 'malformed-claims'): unknown {
  try {
    return decodeJwsPart(encoded);
  } catch (cause) {
    const where = rule === 'malformed-header' ? 'its header is' : 'its claims are';
    throw refusedJwtSvid(rule, `${where} not JSON in UTF-8 that has one meaning`, cause);
  }
}

function flawOfClaims(error: z.ZodError): MeshError {
  const claim = error.issues[0]?.path[0];
  if (claim === 'sub') return refusedJwtSvid('subject', 'it has no subject');
  if (claim === 'aud') return refusedJwtSvid('audience', 'it has no audience');
  if (claim === 'exp') return refusedJwtSvid('expiry', 'it has no expiry');
  return refusedJwtSvid('malformed-claims', 'its claims are not of the right form');
}

function readSubject(sub: string): SpiffeId {
  try {
    return parseSpiffeId(sub);
  } catch (cause) {
    throw refusedJwtSvid('subject', `its subject ${quote(sub)} is not a SPIFFE ID`, cause);
  }
}
