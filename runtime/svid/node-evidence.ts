import { createPrivateKey, type KeyObject } from 'node:crypto';
import { CompactSign } from 'jose';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { statementAlgorithms, X509Statement } from '#policies/wire/attest-api.ts';
import { readFileBounded } from '../atomic-file.ts';
import { sha256Hex } from './node-proof.ts';

/** By what a node joins that has no join token. Files are read when they are needed, so one that is replaced in time does. */
export type NodeEvidence =
  | { readonly kind: 'jwt'; readonly file: string }
  | { readonly kind: 'vault-token'; readonly file: string; readonly wrapped: boolean }
  /** PEM: the certificate of the machine with what is between it and a root, and its key. */
  | { readonly kind: 'x509pop'; readonly certFile: string; readonly keyFile: string };

const maxTokenBytes = 16_384;
const maxPemBytes = 32_768;

/**
 * The token in a file, without the white space around it.
 * @throws MeshError SLV-1005
 */
export async function readTokenFile(path: string): Promise<string> {
  const token = (await read(path, maxTokenBytes)).trim();
  if (!/^[\x21-\x7e]{16,}$/.test(token)) throw unusable(path, 'holds no token');
  return token;
}

/**
 * The machine's chain, and the statement over challenge and node key by its key.
 * @throws MeshError SLV-1005
 */
export async function signX509Statement(
  evidence: Extract<NodeEvidence, { kind: 'x509pop' }>,
  challenge: string,
  nodeKey: KeyObject,
): Promise<{ readonly chain: string; readonly statement: string }> {
  const chain = await read(evidence.certFile, maxPemBytes);
  const key = readKey(await read(evidence.keyFile, maxPemBytes), evidence.keyFile);
  const claims: X509Statement = {
    aud: 'selvedge-identity x509pop',
    challenge,
    nodeKey: sha256Hex(nodeKey.export({ format: 'der', type: 'spki' })),
  };
  const statement = await new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: algorithmOf(key, evidence.keyFile) })
    .sign(key);
  return { chain, statement };
}

function algorithmOf(key: KeyObject, path: string): (typeof statementAlgorithms)[number] {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === 'rsa') return 'PS256';
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA';
  if (curve === 'prime256v1') return 'ES256';
  if (curve === 'secp384r1') return 'ES384';
  throw unusable(path, 'holds a key that is neither EC P-256, EC P-384, Ed25519 nor RSA');
}

function readKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw unusable(path, 'holds no private key in PEM'); // the cause might hold some of it
  }
}

async function read(path: string, maxBytes: number): Promise<string> {
  const content = await readFileBounded(path, maxBytes);
  if (content === undefined) throw unusable(path, 'does not exist');
  return content.toString('utf8');
}

function unusable(path: string, flaw: string): MeshError {
  return new MeshError('SLV-1005', `${path} ${flaw}.`, { detail: { path } });
}
