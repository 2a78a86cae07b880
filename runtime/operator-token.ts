import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { createFileOnceSync, readFileBoundedSync } from './atomic-file.ts';

/** What proves an operator to this process. */
export interface OperatorToken {
  /** Compares in constant time. False for undefined. */
  check(presented: string | undefined): boolean;
  /** The file that holds it; undefined when it lives in memory only. */
  readonly path?: string;
  /** The secret, for those who run in this process (`dev`, tests). Never logged or answered. */
  readonly token: string;
}

/** File name within a data directory. */
export const operatorTokenFile = 'operator.token';

/**
 * The operator token of a data directory: made the first time (256 random bits, file 0600), read ever after. Several processes may share the
 * directory and start at once; all get the same token. Without a directory it lives in memory. Throws SLV-1005 when the file is unusable.
 */
export function loadOrCreateOperatorToken(dataDir: string | undefined, file = operatorTokenFile): OperatorToken {
  const fresh = randomBytes(32).toString('base64url');
  if (dataDir === undefined) return { token: fresh, check: checker(fresh) };
  const path = join(dataDir, file);
  createFileOnceSync(path, `${fresh}\n`);
  return readToken(path, readFileBoundedSync(path, 1_024));
}

/** The operator token of a data directory, where there is one. Throws SLV-1005 when the file is unusable. */
export function loadOperatorToken(dataDir: string, file = operatorTokenFile): OperatorToken | undefined {
  const path = join(dataDir, file);
  const content = readFileBoundedSync(path, 1_024);
  return content === undefined ? undefined : readToken(path, content);
}

function readToken(path: string, content: Buffer | undefined): OperatorToken {
  const token = content?.toString('utf8').trim() ?? '';
  if (!/^[\x21-\x7e]{32,512}$/.test(token)) {
    throw new MeshError('SLV-1005', `${path} holds no operator token: 32 to 512 printable characters are needed.`, {
      detail: { path },
    });
  }
  return { token, path, check: checker(token) };
}

/** Digests have one length, whatever was presented, so neither time nor an exception tells anything. */
function checker(token: string): OperatorToken['check'] {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(token);
  return (presented) => presented !== undefined && timingSafeEqual(digest(presented), expected);
}
