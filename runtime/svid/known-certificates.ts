import { type CertificateLink, readCertificateLink } from './certificate-link.ts';
import { isSignedWith, isSignedWithSideBySide } from './signed-der.ts';

/**
 * Certificates that have stood in a path that was accepted, by their bytes: signers, for every SVID of a mesh comes with the same one or two, and leaves, for a caller without a tunnel connects
 * again and again with the same. To read one and to verify its signature costs most of what a chain costs, and leaves garbage of OpenSSL's that V8 has to free. What is remembered is only what
 * follows from the bytes alone: what they say, and by which keys they are signed. Whether they are in time, allowed, revoked, or lead to a root of today is asked each time.
 */

/** Of signers more than a mesh has, also in the midst of rotations and with other trust domains; who comes again soon finds room beside them. Only who is trusted can fill it. */
const maxKnown = 64;

/** The one used longest ago first. */
const known = new Map<string, CertificateLink>();
const signedBy = new WeakMap<CertificateLink, WeakSet<CertificateLink>>();

/**
 * Reads a certificate, or knows it already.
 * @throws MeshError as readCertificateLink does
 */
export function readKnownLink(der: Uint8Array): CertificateLink {
  const bytes = keyOf(der);
  const link = known.get(bytes);
  if (link === undefined) return readCertificateLink(der);
  known.delete(bytes);
  known.set(bytes, link);
  return link;
}

/** Remembers a certificate of a path that was accepted. */
export function rememberLink(der: Uint8Array, link: CertificateLink): void {
  known.set(keyOf(der), link);
  if (known.size <= maxKnown) return;
  for (const oldest of known.keys()) {
    known.delete(oldest);
    return;
  }
}

/** Whether the signature of one certificate verifies with the key of another. Computed once for each pair of objects. */
export function isSignedBy(signed: CertificateLink, signer: CertificateLink): boolean {
  if (signedBy.get(signed)?.has(signer)) return true;
  const verified = isSignedWith(signed.signature, signer.key);
  if (verified) rememberSignature(signed, signer);
  return verified;
}

/** Verifies a signature beside the other orders of this process, so that `isSignedBy` need not compute it. One that does not verify is left to it. */
export async function verifySignatureAhead(signed: CertificateLink, signer: CertificateLink): Promise<void> {
  if (await isSignedWithSideBySide(signed.signature, signer.key)) rememberSignature(signed, signer);
}

function rememberSignature(signed: CertificateLink, signer: CertificateLink): void {
  const signers = signedBy.get(signed) ?? new WeakSet();
  signers.add(signer);
  signedBy.set(signed, signers);
}

function keyOf(der: Uint8Array): string {
  return Buffer.from(der.buffer, der.byteOffset, der.length).toString('latin1');
}
