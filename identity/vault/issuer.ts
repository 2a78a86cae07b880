import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { VaultError, type VaultTransport } from './transport.ts';

/** What Vault tells of certificates, parsed. */

const pem = z.string().max(65_536);
const issuerSchema = z.looseObject({ certificate: pem, ca_chain: z.array(pem).max(16).nullish() });
const signedSchema = z.looseObject({
  certificate: pem,
  issuing_ca: pem.nullish(),
  ca_chain: z.array(pem).max(16).nullish(),
});

/**
 * The issuer's certificate, then its chain, DER. Needs no token.
 * @param path `<mount>/issuer/<ref>/json`
 */
export async function readIssuer(transport: VaultTransport, path: string, signal?: AbortSignal): Promise<Uint8Array[]> {
  const parsed = issuerSchema.safeParse((await transport.read(path, signal === undefined ? {} : { signal })).data);
  if (!parsed.success) throw new VaultError('the answer for the issuer is not of the known form');
  const { certificate, ca_chain: above } = parsed.data;
  const chain = [certificate, ...(above ?? [])].map(decode);
  return chain.filter((der, at) => chain.findIndex((other) => Buffer.from(other).equals(der)) === at);
}

/**
 * The certificate that Vault signed and the intermediates above it, DER. Roots that Vault sends along are dropped: they are trusted from elsewhere or
 * not at all; cross-signed CAs stay.
 *
 * @param data of the answer to a signing request
 * @throws MeshError SLV-2142
 */
export function readSignedChain(data: unknown): Uint8Array[] {
  const parsed = signedSchema.safeParse(data);
  if (!parsed.success)
    throw new MeshError('SLV-2142', "Vault's answer to the signing request is not of the known form.");
  const { certificate, issuing_ca: issuer, ca_chain: above } = parsed.data;
  const signers = above ?? (issuer == null ? [] : [issuer]);
  return [decode(certificate), ...signers.map(decode).filter((der) => !isSelfSigned(der))];
}

/**
 * What lies above a leaf, without what ends before it: a root certified by its predecessor leads who slept through a rotation, and in the end is of no
 * more use. What is needed stays: Vault gives nothing a longer life than what signs it has.
 */
export function outliving(above: readonly Uint8Array[], leafNotAfterMs: number): readonly Uint8Array[] {
  return above.filter((der) => readCertificate(der).notAfterMs >= leafNotAfterMs);
}

/** True for a certificate that names itself as its issuer: never part of a chain that is handed out. */
export function isSelfSigned(der: Uint8Array): boolean {
  const { subject, issuer } = readCertificateLink(der);
  return subject.equals(issuer);
}

function decode(text: string): Uint8Array {
  try {
    return new Uint8Array(new X509Certificate(text).raw);
  } catch (cause) {
    throw new MeshError('SLV-2142', 'Vault returned a certificate that can not be read.', { cause });
  }
}
