import { MeshError } from '#policies/errors/mesh-error.ts';

/** More certificates than any chain or bundle of ours has. */
const maxCertificates = 256;

/**
 * The certificates of a PEM text (RFC 7468), in order; other blocks and text between them are passed over.
 *
 * @returns DER, at least one. Throws SLV-5003 when there is none, or too many
 */
export function certificatesOfPem(pem: string): Uint8Array[] {
  const blocks = [...pem.matchAll(/-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----/g)];
  if (blocks.length === 0) throw new MeshError('SLV-5003', 'There is no PEM certificate in the text.');
  if (blocks.length > maxCertificates) {
    throw new MeshError(
      'SLV-5003',
      `There are ${blocks.length} certificates in the text, over the limit of ${maxCertificates}.`,
    );
  }
  return blocks.map(([, base64 = '']) => new Uint8Array(Buffer.from(base64, 'base64')));
}
