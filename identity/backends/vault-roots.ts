import { createHash, X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import { type CertificateLink, readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { isSignedWith } from '#runtime/svid/signed-der.ts';
import type { Store } from '#store/contract.ts';

/**
 * Which roots are trusted where Vault signs. Never what comes along with a certificate: either the PEM file that the operator names, or the root to
 * which the configured issuer chained when the service first met it there, kept in the store from then on. A Vault whose issuer later chains to another
 * root is refused (SLV-2142) until the operator names that root, or another issuer.
 */

/** Where pins are looked for. */
export interface PinnedPlace {
  /** `placeOf` its configuration: each place has a pin of its own. */
  readonly place: string;
  /** Named by the operator; beats the pin. */
  readonly rootsFile?: string | undefined;
  /** Known from elsewhere, DER; beats both. */
  readonly roots?: readonly Uint8Array[] | undefined;
}

const prefix = 'identity/ca/vault-roots/';
const recordSchema = z.object({ roots: z.array(z.base64()).min(1).max(16) });

/** @returns the pinned roots, DER; undefined before the first meeting */
export async function loadPinnedRoots(
  store: Store,
  { place, rootsFile, roots }: PinnedPlace,
): Promise<readonly Uint8Array[] | undefined> {
  if (roots !== undefined) return roots;
  if (rootsFile !== undefined) return readRootsFile(rootsFile);
  const stored = await store.get(keyOf(place));
  if (stored === undefined) return undefined;
  const record = recordSchema.parse(JSON.parse(Buffer.from(stored.value).toString('utf8')));
  return record.roots.map((root) => new Uint8Array(Buffer.from(root, 'base64')));
}

/**
 * Pins the root of an issuer's chain. Where another process was quicker, its pin holds.
 *
 * @param chain the issuer's certificate, then what Vault says lies above it, DER
 * @returns the pinned roots, DER
 * @throws MeshError SLV-2141 when the chain ends in no root
 */
export async function pinRoots(
  store: Store,
  place: string,
  chain: readonly Uint8Array[],
): Promise<readonly Uint8Array[]> {
  const root = rootOf(chain);
  if (root === undefined) {
    throw new MeshError(
      'SLV-2141',
      "Vault's issuer does not chain to a root that Vault knows. Import the root beside the issuer, or name it in a roots file.",
    );
  }
  const value = Buffer.from(JSON.stringify({ roots: [Buffer.from(root).toString('base64')] }));
  const key = keyOf(place);
  await store.txn({ compare: [{ kind: 'absent', key }], success: [{ kind: 'put', key, value }] });
  return (await loadPinnedRoots(store, { place })) ?? [root];
}

/** Forgets what was pinned there: it is met anew when it is used again. */
export async function forgetPinnedRoots(store: Store, place: string): Promise<void> {
  await store.delete(keyOf(place));
}

function keyOf(place: string): string {
  return prefix + createHash('sha256').update(place).digest('hex');
}

/** Climbs from the issuer by name and signature to the nearest self-signed CA. */
function rootOf(chain: readonly Uint8Array[]): Uint8Array | undefined {
  const links = chain.map((der) => ({ der, link: readCertificateLink(der) }));
  const isRoot = ({ link }: { link: CertificateLink }): boolean => link.subject.equals(link.issuer);
  let [current] = links;
  for (let climbed = 0; current !== undefined && climbed < links.length; climbed++) {
    if (isRoot(current)) return current.link.facts.isCa ? current.der : undefined;
    const { link } = current;
    const signers = links.filter(
      (each) => each.link.subject.equals(link.issuer) && isSignedWith(link.signature, each.link.key),
    );
    current = signers.find(isRoot) ?? signers[0];
  }
  return undefined;
}

/** The roots that an operator names, DER. @throws MeshError SLV-1005 */
export async function readRootsFile(path: string): Promise<Uint8Array[]> {
  const text = (await readFileBounded(path, 1_048_576))?.toString('utf8') ?? '';
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    const roots = blocks.map((pem) => new Uint8Array(new X509Certificate(pem).raw));
    if (roots.length > 0 && roots.every((der) => readCertificateLink(der).facts.isCa)) return roots;
  } catch (cause) {
    throw new MeshError('SLV-1005', `${path} holds a certificate that can not be read.`, { detail: { path }, cause });
  }
  throw new MeshError('SLV-1005', `${path} holds no CA certificate in PEM.`, { detail: { path } });
}
