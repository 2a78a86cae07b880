import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readCertificate } from '#policies/svid-leaf.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { readKnownLink } from '#runtime/svid/known-certificates.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
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
 * The certificate that Vault signed and the intermediates above it, DER, each once: a CA that is certified by a CA under the root comes with itself again.
 * Roots that Vault sends along are dropped: they are trusted from elsewhere or not at all; cross-signed CAs stay.
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
  const chain = [decode(certificate)]; // what it says is looked at by verify-issued.ts
  for (const { der, isSelfSigned } of signers.map(decodeSigner))
    if (!isSelfSigned && !chain.some((known) => Buffer.compare(known, der) === 0)) chain.push(der);
  return chain;
}

/** Certificates of CAs, as Vault sends them along with every leaf: what their text says is found out once. The one used longest ago first. */
const knownSigners = new Map<string, { readonly der: Uint8Array; readonly isSelfSigned: boolean }>();
const maxKnownSigners = 32;

function decodeSigner(text: string): { readonly der: Uint8Array; readonly isSelfSigned: boolean } {
  const known = knownSigners.get(text);
  if (known !== undefined) return known;
  const der = decodeSigned(text);
  const signer = { der, isSelfSigned: isSelfSigned(der) };
  knownSigners.set(text, signer);
  if (knownSigners.size > maxKnownSigners) knownSigners.delete([...knownSigners.keys()][0] ?? '');
  return signer;
}

const pins = new WeakMap<Uint8Array, string>();

/** `spkiPin` of a signer's certificate from `readSignedChain`, which gives the same object for the same certificate. */
export function pinOfSigner(der: Uint8Array): string {
  const pin = pins.get(der) ?? spkiPin(der);
  pins.set(der, pin);
  return pin;
}

/**
 * What lies above a leaf, without what ends before it: a root certified by its predecessor leads who slept through a rotation, and in the end is of no
 * more use. Were one needed that ends so soon, verify-issued.ts would refuse the leaf with it as without.
 */
export function outliving(above: readonly Uint8Array[], leafNotAfterMs: number): readonly Uint8Array[] {
  return above.filter((der) => readKnownLink(der).facts.notAfterMs >= leafNotAfterMs);
}

/** True for a certificate that names itself as its issuer: never part of a chain that is handed out. */
export function isSelfSigned(der: Uint8Array): boolean {
  const { subject, issuer } = readCertificateLink(der);
  return subject.equals(issuer);
}

/** As `decode`, and within the bounds of every peer: whoever asked for the certificate is not to blame for what it says. */
function decodeSigned(text: string): Uint8Array {
  const der = decode(text);
  try {
    readCertificateLink(der);
    return der;
  } catch (cause) {
    const flaw = cause instanceof MeshError ? `: ${cause.message}` : '.';
    throw new MeshError('SLV-2142', `Vault returned a certificate that can not be used${flaw}`, { cause });
  }
}

function decode(text: string): Uint8Array {
  try {
    const [der] = certificatesOfPem(text);
    if (der === undefined) throw new MeshError('SLV-5003', 'There is no certificate.');
    readCertificate(der);
    return der;
  } catch (cause) {
    throw new MeshError('SLV-2142', 'Vault returned a certificate that can not be read.', { cause });
  }
}
