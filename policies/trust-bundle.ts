import { z } from 'zod';
import { certificateSpki } from './certificate.ts';
import { MeshError } from './errors/mesh-error.ts';
import { type JwtAuthority, readJwtAuthority } from './jwt-authority.ts';
import { publicKeyJwk } from './public-key-jwk.ts';
import type { TrustDomain } from './spiffe-id.ts';

/** Whom a trust domain trusts to sign X.509-SVIDs and JWT-SVIDs. Bundles of different trust domains are never merged. */
export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  /** Grows with every change of the contents. */
  readonly sequence: number;
  readonly refreshHintSeconds: number;
  /** Roots, DER. None: every SVID of this trust domain is to be refused (SPIFFE bundle 4.1.3). */
  readonly x509Authorities: readonly Uint8Array[];
  /** Keys that sign JWT-SVIDs. */
  readonly jwtAuthorities: readonly JwtAuthority[];
}

/** When a bundle says nothing, it is fetched again after this (SPIFFE bundle 4.1.2). */
export const defaultRefreshHintSeconds = 300;

const maxKeys = 256;
const x5c = z.tuple([z.base64().min(1).max(65_536)]);
const keySchema = z.looseObject({ kty: z.string().min(1), use: z.string().optional(), x5c: z.unknown().optional() });
/** Larger ones count as the bound: sequences have 64 bits (SPIFFE bundle 4.1.1), and a number here keeps the digits of 53. */
function wholeNumberUpTo(bound: number) {
  return z
    .number()
    .refine((value) => Number.isInteger(value) && value >= 0, 'a whole number from 0 on is expected')
    .transform((value) => Math.min(value, bound));
}

const bundleSchema = z.looseObject({
  keys: z.array(z.unknown()).max(maxKeys),
  spiffe_sequence: wholeNumberUpTo(Number.MAX_SAFE_INTEGER).optional(),
  spiffe_refresh_hint: wholeNumberUpTo(31_536_000).optional(),
});
/** Key types that a certificate may be described by; a JWK of another type is ignored (SPIFFE bundle 4.2.1). */
const knownKeyTypes: ReadonlySet<string> = new Set(['EC', 'RSA', 'OKP']);

/**
 * Reads a SPIFFE bundle (JWKS, SPIFFE_Trust_Domain_and_Bundle.md). Keys of unknown type or use are ignored as the specification asks, and so
 * is a `jwt-svid` key that can verify nothing (jwt-authority.ts). A certificate that is no certificate, or not alone in its `x5c`, refuses the bundle.
 * @param document the parsed JSON
 * @throws MeshError SLV-5006
 */
export function parseSpiffeBundle(trustDomain: TrustDomain, document: unknown): TrustBundle {
  const parsed = bundleSchema.safeParse(document);
  if (!parsed.success) throw flawed(trustDomain, firstIssue(parsed.error));
  const authorities: Uint8Array[] = [];
  const jwtAuthorities = new Map<string, JwtAuthority>();
  for (const [index, entry] of parsed.data.keys.entries()) {
    const key = keySchema.safeParse(entry);
    const jwtAuthority = key.data?.use === 'jwt-svid' ? readJwtAuthority(entry) : undefined;
    if (jwtAuthority !== undefined) jwtAuthorities.set(jwtAuthority.kid, jwtAuthority);
    if (!key.success || key.data.use !== 'x509-svid' || !knownKeyTypes.has(key.data.kty)) continue;
    const chain = x5c.safeParse(key.data.x5c);
    if (!chain.success) throw flawed(trustDomain, `keys.${index}.x5c must hold exactly one base64 DER certificate`);
    const der = new Uint8Array(Buffer.from(chain.data[0], 'base64'));
    try {
      certificateSpki(der);
    } catch (error) {
      throw flawed(trustDomain, `keys.${index}.x5c is not a certificate`, error);
    }
    authorities.push(der);
  }
  return {
    trustDomain,
    sequence: parsed.data.spiffe_sequence ?? 0,
    refreshHintSeconds: parsed.data.spiffe_refresh_hint ?? defaultRefreshHintSeconds,
    x509Authorities: authorities,
    jwtAuthorities: [...jwtAuthorities.values()],
  };
}

/**
 * The bundle as a SPIFFE JWKS document, ready for JSON.stringify: `x509-svid` keys with one certificate each and no `kid`, then
 * `jwt-svid` keys with a `kid` each.
 * @throws MeshError SLV-5007 when an authority's key is of no kind that a JWK has
 */
export function formatSpiffeBundle(bundle: TrustBundle): object {
  return {
    keys: [
      ...bundle.x509Authorities.map((der) => ({
        use: 'x509-svid',
        ...publicKeyJwk(certificateSpki(der)),
        x5c: [Buffer.from(der.buffer, der.byteOffset, der.length).toString('base64')],
      })),
      ...bundle.jwtAuthorities.map(({ kid, jwk }) => ({ use: 'jwt-svid', kid, ...jwk })),
    ],
    spiffe_sequence: bundle.sequence,
    spiffe_refresh_hint: bundle.refreshHintSeconds,
  };
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue === undefined ? 'not an object' : `${issue.path.map(String).join('.') || 'document'}: ${issue.message}`;
}

function flawed(trustDomain: TrustDomain, flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-5006', `The bundle of ${trustDomain} is not valid: ${flaw}.`, { cause });
}
