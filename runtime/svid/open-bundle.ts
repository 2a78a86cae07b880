import { X509Certificate } from 'node:crypto';
import { compactVerify, decodeProtectedHeader } from 'jose';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import {
  parseTrustDomain,
  type ServiceIdentity,
  type SpiffeId,
  serviceIdentityOf,
  type TrustDomain,
} from '#policies/spiffe-id.ts';
import { readCertificate, svidIdOf } from '#policies/svid-leaf.ts';
import { parseSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import { type SignedBundlePayload, signedBundlePayloadSchema, signedBundleType } from '#policies/wire/signed-bundle.ts';
import type { TrustSource } from './trust.ts';
import { verifyChain } from './verify-peer.ts';

/** Name of the service that signs bundles and issues SVIDs: the last segment of its SPIFFE ID. */
export const identityServiceName = 'selvedge-identity';

/** A signed bundle whose signature and signer have been verified. */
export interface OpenedBundle {
  readonly jws: string;
  readonly bundle: TrustBundle;
  /** Bundles of other trust domains, never the own one. */
  readonly federated: ReadonlyMap<TrustDomain, TrustBundle>;
  /** Unix seconds. */
  readonly issuedAt: number;
  readonly revokedSerials: ReadonlySet<string>;
  readonly revokedIds: ReadonlySet<string>;
  /** Authorities whose SVIDs are to be renewed at once: lower-case hex SHA-256 of their SubjectPublicKeyInfo. */
  readonly tainted: ReadonlySet<string>;
  /** Who signed it. */
  readonly signer: ServiceIdentity;
  /** The signer's chain, leaf first, DER. */
  readonly signerChain: readonly Uint8Array[];
}

/** Thousands of revocations fit. */
const maxJwsBytes = 4 * 1024 * 1024;
const headerSchema = z.object({
  alg: z.literal('ES256'),
  typ: z.literal(signedBundleType),
  x5c: z.array(z.base64().max(32_768)).min(1).max(16),
});

/**
 * Opens a signed bundle: its signer must be the identity service of `trustDomain` by a chain that `trust` accepts, its signature the signer's.
 *
 * @throws MeshError SLV-2012 saying what is wrong with it
 */
export function openSignedBundle(
  jws: string,
  trustDomain: TrustDomain,
  trust: TrustSource,
  nowMs: number,
): Promise<OpenedBundle> {
  return refusing(async () => {
    const chain = signerChainOf(jws);
    const { spiffeId } = verifyChain({ chain, trust, nowMs });
    const { publicKey } = new X509Certificate(chain[0] ?? new Uint8Array());
    const { payload } = await compactVerify(jws, publicKey, { algorithms: ['ES256'] });
    const opened = readPayload(jws, payload, spiffeId, chain);
    if (opened.signer.trustDomain !== trustDomain) throw refused(`it is the bundle of ${opened.signer.trustDomain}`);
    return opened;
  });
}

/**
 * Reads a signed bundle and proves nothing: for one that was opened before it was written to the state directory (its signer's SVID may have run out
 * since), and for `dev`, where plain HTTP is all there is.
 *
 * @throws MeshError SLV-2012
 */
export function readUnprovenBundle(jws: string): Promise<OpenedBundle> {
  return refusing(async () => {
    const payload = Buffer.from(jws.split('.')[1] ?? '', 'base64url');
    const chain = signerChainOf(jws);
    return readPayload(jws, payload, svidIdOf(readCertificate(chain[0] ?? new Uint8Array())), chain);
  });
}

function signerChainOf(jws: string): Uint8Array[] {
  if (jws.length > maxJwsBytes) throw refused(`it is larger than ${maxJwsBytes} bytes`);
  const { x5c } = headerSchema.parse(decodeProtectedHeader(jws));
  return x5c.map((certificate) => new Uint8Array(Buffer.from(certificate, 'base64')));
}

function readPayload(
  jws: string,
  payload: Uint8Array,
  signerId: SpiffeId,
  signerChain: readonly Uint8Array[],
): OpenedBundle {
  const signer = serviceIdentityOf(signerId);
  if (signer?.service !== identityServiceName)
    throw refused(`it is signed by ${signerId}, which is no identity service`);
  const content = signedBundlePayloadSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
  if (content.trust_domain !== signer.trustDomain) {
    throw refused(
      `it is of ${content.trust_domain.slice(0, 255)}, signed by the identity service of ${signer.trustDomain}`,
    );
  }
  const bundle = parseSpiffeBundle(signer.trustDomain, content.bundle);
  // Nothing could ever replace a bundle without roots: its successor would have no root to be verified by.
  if (bundle.x509Authorities.length === 0) throw refused('it has no roots');
  return {
    jws,
    bundle,
    federated: readFederated(signer.trustDomain, content.federated),
    issuedAt: content.iat,
    revokedSerials: new Set(content.revoked.serials),
    revokedIds: new Set(content.revoked.spiffe_ids),
    tainted: new Set(content.tainted),
    signer,
    signerChain,
  };
}

function readFederated(
  own: TrustDomain,
  federated: SignedBundlePayload['federated'],
): ReadonlyMap<TrustDomain, TrustBundle> {
  const bundles = new Map<TrustDomain, TrustBundle>();
  for (const { trust_domain, bundle } of federated) {
    const trustDomain = parseTrustDomain(trust_domain);
    // Two bundles of one trust domain would have to be merged, or one forgotten.
    if (trustDomain === own || bundles.has(trustDomain)) throw refused(`it has two bundles of ${trustDomain}`);
    bundles.set(trustDomain, parseSpiffeBundle(trustDomain, bundle));
  }
  return bundles;
}

async function refusing(open: () => Promise<OpenedBundle>): Promise<OpenedBundle> {
  try {
    return await open();
  } catch (cause) {
    if (cause instanceof MeshError) throw cause.code === 'SLV-2012' ? cause : refused(lowerFirst(cause.message), cause);
    throw refused('it is malformed or its signature does not verify', cause);
  }
}

function refused(flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2012', `The signed trust bundle is refused: ${flaw.replace(/\.$/, '')}.`, { cause });
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
