import { createPublicKey, type KeyObject } from 'node:crypto';
import { compactVerify } from 'jose';
import type { JwtAuthority } from '#policies/jwt-authority.ts';
import { type JwtSvidFacts, readJwtSvid, refusedJwtSvid } from '#policies/jwt-svid.ts';
import { trustDomainOf } from '#policies/spiffe-id.ts';
import type { TrustSource } from './trust.ts';

/**
 * Validates a JWT-SVID: every rule of the specification (policies/jwt-svid.ts), and its signature by the key that it names in the bundle of its subject's
 * own trust domain, and in no other's. An ID that is revoked as a whole is refused.
 *
 * @param expected.audience what the token must be for: the name of whoever validates
 * @throws MeshError SLV-2195 with the broken rule in `detail.rule`
 */
export async function validateJwtSvid(
  token: string,
  expected: {
    readonly audience: string;
    readonly trust: Pick<TrustSource, 'bundleOf' | 'isRevoked'>;
    readonly nowMs: number;
  },
): Promise<JwtSvidFacts> {
  const facts = readJwtSvid(token, expected);
  const { kid, alg, spiffeId } = facts;
  const bundle = expected.trust.bundleOf(trustDomainOf(spiffeId));
  if (bundle === undefined)
    throw refusedJwtSvid('unknown-trust-domain', `there is no bundle of the trust domain of ${spiffeId}`);
  const authority = bundle.jwtAuthorities.find((key) => key.kid === kid);
  if (authority === undefined) throw refusedJwtSvid('unknown-key', 'the bundle of its trust domain has no such key');
  try {
    await compactVerify(token, keyOf(authority), { algorithms: [alg] });
  } catch (cause) {
    throw refusedJwtSvid('bad-signature', 'its signature is not by the key that it names', cause);
  }
  // A token has no serial; only its ID can be on the list.
  if (expected.trust.isRevoked('', spiffeId)) throw refusedJwtSvid('revoked', `${spiffeId} is revoked`);
  return facts;
}

/** Imported once for the life of a bundle. */
const keys = new WeakMap<JwtAuthority, KeyObject>();

function keyOf(authority: JwtAuthority): KeyObject {
  const known = keys.get(authority);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: { ...authority.jwk }, format: 'jwk' });
  keys.set(authority, key);
  return key;
}
