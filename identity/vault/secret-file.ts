import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';

/** Largest secret: a JWT with many claims. */
const maxSecretBytes = 16_384;

/**
 * A file that holds one secret: a token, a secret id, a JWT. White space around it is dropped.
 * @throws MeshError SLV-1005 when there is no such file, or something else in it
 */
export async function readSecretFile(path: string): Promise<string> {
  const secret = await findSecretFile(path);
  if (secret === undefined) throw new MeshError('SLV-1005', `${path} does not exist.`, { detail: { path } });
  return secret;
}

/** As readSecretFile; undefined when there is no such file. */
export async function findSecretFile(path: string): Promise<string | undefined> {
  const text = (await readFileBounded(path, maxSecretBytes))?.toString('utf8').trim();
  if (text === undefined) return undefined;
  if (!/^[\x21-\x7e]+$/.test(text)) throw new MeshError('SLV-1005', `${path} holds no secret.`, { detail: { path } });
  return text;
}
