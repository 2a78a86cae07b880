import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import { keyIdentifier, serialNumber } from './leaf-template.ts';

/**
 * Makes CA certificates of the embedded CA: rarely, so by a general library (@peculiar/x509, imported here alone). Signing certificates as SPIFFE
 * X509-SVID 4 and 5 ask: EC P-256, CA:TRUE and keyCertSign critical, a SPIFFE ID without path as URI SAN.
 */

/** A CA certificate and its key. */
export interface Authority {
  readonly certificateDer: Uint8Array;
  /** EC P-256. */
  readonly key: KeyObject;
}

/** What varies. */
export interface AuthorityFields {
  readonly trustDomain: TrustDomain;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly randomBytes: (size: number) => Uint8Array;
}

const signing = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A self-signed root. Path length 2: room for its successor's cross certificate between it and an issuing CA. */
export async function makeRoot(fields: AuthorityFields): Promise<Authority> {
  const keys = makeKeys();
  const name = nameOf('Root', keys, fields.trustDomain);
  const certificateDer = await certify(fields, {
    name,
    ...publicOf(keys),
    pathLength: 2,
    signer: { name, key: keys.privateKey },
  });
  return { certificateDer, key: keys.privateKey };
}

/** An issuing CA under a root; it signs leaves only. */
export async function makeIssuingCa(fields: AuthorityFields, root: Authority): Promise<Authority> {
  const keys = makeKeys();
  const name = nameOf('Issuing CA', keys, fields.trustDomain);
  const certificateDer = await certify(fields, { name, ...publicOf(keys), pathLength: 0, signer: signerOf(root) });
  return { certificateDer, key: keys.privateKey };
}

/**
 * A root certified by its predecessor: same name and key, signed by the old root. Sent along in chains, it leads those who know the old root only to the
 * new one (reference/identity.md 3.3).
 * @param rootDer of any CA, with any kind of key
 * @returns DER
 */
export function certifyRoot(fields: AuthorityFields, rootDer: Uint8Array, predecessor: Authority): Promise<Uint8Array> {
  const root = new x509.X509Certificate(rootDer);
  const { subjectName: name, publicKey } = root;
  // The name by which its own issuing CAs refer to it, however its maker reckoned that.
  const keyId = root.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  return certify(fields, { name, publicKey, keyId, pathLength: 1, signer: signerOf(predecessor) });
}

/**
 * A key for an issuing CA that somebody else certifies, and the request (PKCS#10) for it: name, SPIFFE ID of the trust domain, and nothing else, so that
 * the signer decides what it may.
 *
 * @returns `key` EC P-256, `csrPem` PEM
 */
export async function requestIssuingCa(trustDomain: TrustDomain): Promise<{ key: KeyObject; csrPem: string }> {
  const keys = makeKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: nameOf('Issuing CA', keys, trustDomain),
      keys: {
        publicKey: keys.publicKey.toCryptoKey(signing, true, ['verify']),
        privateKey: keys.privateKey.toCryptoKey(signing, false, ['sign']),
      },
      signingAlgorithm: signing,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }])],
    },
    webcrypto as unknown as Crypto,
  );
  return { key: keys.privateKey, csrPem: `${request.toString('pem')}\n` };
}

interface Keys {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

type Name = x509.Name | x509.JsonName;

function makeKeys(): Keys {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

function publicOf(keys: Keys): { publicKey: x509.PublicKeyType; keyId: string } {
  return { publicKey: keys.publicKey.toCryptoKey(signing, true, ['verify']), keyId: keyIdOf(keys) };
}

function keyIdOf({ publicKey }: Keys): string {
  return Buffer.from(keyIdentifier(publicKey.export({ format: 'der', type: 'spki' }))).toString('hex');
}

/** Names must differ between a CA and its successor: path building goes by name. */
function nameOf(role: string, keys: Keys, trustDomain: TrustDomain): x509.JsonName {
  return [{ O: ['Selvedge'] }, { CN: [`${role} ${keyIdOf(keys).slice(0, 8)} of ${trustDomain}`.slice(0, 64)] }];
}

function signerOf({ certificateDer, key }: Authority): { name: Name; key: KeyObject; keyId: string | undefined } {
  const certificate = new x509.X509Certificate(certificateDer);
  const keyId = certificate.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  return { name: certificate.subjectName, key, keyId };
}

async function certify(
  fields: AuthorityFields,
  what: {
    name: Name;
    publicKey: x509.PublicKeyType;
    /** Hex; undefined: none. */
    keyId: string | undefined;
    pathLength: number;
    signer: { name: Name; key: KeyObject; keyId?: string | undefined };
  },
): Promise<Uint8Array> {
  const { name, publicKey, keyId, pathLength, signer } = what;
  const authorityKeyId = signer.keyId ?? keyId;
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: Buffer.from(serialNumber(fields.randomBytes)).toString('hex'),
      subject: name,
      issuer: signer.name,
      notBefore: new Date(fields.notBeforeMs),
      notAfter: new Date(fields.notAfterMs),
      signingAlgorithm: signing,
      publicKey,
      signingKey: signer.key.toCryptoKey(signing, false, ['sign']),
      extensions: [
        new x509.BasicConstraintsExtension(true, pathLength, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${fields.trustDomain}` }]),
        ...(keyId === undefined ? [] : [new x509.SubjectKeyIdentifierExtension(keyId)]),
        ...(authorityKeyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(authorityKeyId)]),
      ],
    },
    webcrypto as unknown as Crypto,
  );
  return new Uint8Array(certificate.rawData);
}
