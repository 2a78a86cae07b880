import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, type TrustDomain } from '#policies/spiffe-id.ts';
import type { Clock } from '#runtime/clock.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import type { CaBackend, SignedChain, SigningOrder } from '../ca-backend.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import type { AuthorityId, AuthorityPair } from '../rotation/rotation.ts';
import { verifyIssued } from '../verify-issued.ts';

const probeSeconds = 60;

/**
 * Has a CA sign a leaf that nobody gets, and verifies it as any other: only a CA that has shown that it can sign takes over.
 *
 * @returns under what it signs
 * @throws MeshError as the CA does, SLV-2142 when it signs something else or under none of its roots
 */
export async function proveCa(ca: CaBackend, trustDomain: TrustDomain, clock: Clock): Promise<AuthorityPair> {
  const request = await readCertificateRequest(makeCsr(makeKeyPair()));
  const spiffeId = parseSpiffeId(`spiffe://${trustDomain}/selvedge/probe`);
  const order = { request, spiffeId, ttlSeconds: probeSeconds };
  const signed = await ca.sign(order);
  await verifyIssued(signed, order, ca.roots, clock());
  return pairAbove(signed, order, ca.roots, clock());
}

/** The issuing CA of a chain and the root above it, by name. @throws MeshError SLV-2142 when none of these roots is above it */
export async function pairAbove(
  signed: SignedChain,
  order: SigningOrder,
  roots: readonly Uint8Array[],
  nowMs: number,
): Promise<AuthorityPair> {
  const root = spkiPin(await rootAbove(signed, order, roots, nowMs));
  // A root that signs leaves itself sends no certificate along.
  return { root, issuing: issuingOf(signed) ?? root };
}

/** The name of the CA that signed the leaf; undefined: the root did. */
export function issuingOf({ issuer, chain: [, signer] }: SignedChain): AuthorityId | undefined {
  return issuer ?? (signer === undefined ? undefined : spkiPin(signer));
}

async function rootAbove(
  signed: SignedChain,
  order: SigningOrder,
  roots: readonly Uint8Array[],
  nowMs: number,
): Promise<Uint8Array> {
  const [only, ...others] = roots;
  if (only !== undefined && others.length === 0) return only;
  for (const root of roots) {
    try {
      await verifyIssued(signed, order, [root], nowMs);
      return root;
    } catch (error) {
      if (!(error instanceof MeshError)) throw error; // else it is another root
    }
  }
  throw new MeshError('SLV-2142', 'The CA signed under none of the roots that are trusted for it.');
}
