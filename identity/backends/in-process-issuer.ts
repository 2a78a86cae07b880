import type { ProcessContext } from '#runtime/process-context.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import type { SignedChain, SigningOrder } from '../ca-backend.ts';
import { keyIdentifier, type LeafSigner, makeLeaf, serialNumber } from '../leaf-template.ts';
import type { AuthorityId } from '../rotation/rotation.ts';
import type { Authority } from '../x509-authority.ts';

/** How far certificates reach back, for clocks that are behind. */
export const backdatedMs = 30_000;

/** An issuing CA whose key is in this process, whoever certified it. */
export interface InProcessIssuer extends LeafSigner {
  readonly id: AuthorityId;
  readonly certificateDer: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Reads once what signing needs. Throws SLV-5003 when the certificate can't be read. */
export function inProcessIssuer({ certificateDer, key }: Authority): InProcessIssuer {
  const { facts, subject } = readCertificateLink(certificateDer);
  return {
    id: spkiPin(certificateDer),
    certificateDer,
    key,
    subjectDer: subject,
    // The name by which its certificate calls the key, however its maker reckoned that: OpenSSL passes over a CA that a leaf calls otherwise.
    keyId: facts.subjectKeyId ?? keyIdentifier(facts.spkiDer),
    notBeforeMs: facts.notBeforeMs,
    notAfterMs: facts.notAfterMs,
  };
}

/**
 * Signs one leaf: a few tenths of a millisecond, in which this thread goes on.
 * @param above what a leaf that ends then sends along behind the issuing CA's certificate, DER
 */
export async function signInProcess(
  issuer: InProcessIssuer,
  above: (leafNotAfterMs: number) => readonly Uint8Array[],
  order: SigningOrder,
  context: Pick<ProcessContext, 'clock' | 'randomBytes'>,
): Promise<SignedChain> {
  const nowMs = context.clock();
  const notAfterMs = nowMs + order.ttlSeconds * 1_000;
  const leaf = await makeLeaf(issuer, {
    spkiDer: order.request.spkiDer,
    spiffeId: order.spiffeId,
    dnsSans: order.dnsSans ?? [],
    serial: serialNumber(context.randomBytes),
    notBeforeMs: nowMs - backdatedMs,
    notAfterMs,
  });
  return { chain: [leaf, issuer.certificateDer, ...above(notAfterMs)], issuer: issuer.id };
}
