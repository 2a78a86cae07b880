import { createHash, timingSafeEqual } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { loadOperatorToken, loadOrCreateOperatorToken } from '#runtime/operator-token.ts';
import type { Store } from '#store/contract.ts';
import type { OperatorTokenCheck } from './operators.ts';
import { storedRecord } from './stored-record.ts';

const key = 'identity/operator';
const records = storedRecord(z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }));

/** The operator token of processes that share a store. */
export interface SharedOperatorToken extends OperatorTokenCheck {
  /** The file that holds it, where it is in this data directory. */
  readonly path?: string;
}

/**
 * The operator token of a mesh with several identity processes: in the data directory of one of them, or of those that it was copied to; by its hash in the
 * store, where all look at each request. The first process makes it.
 *
 * @param options.replace the token of this data directory is to hold from now on, whatever held before
 * @throws MeshError SLV-2189 when the data directory has another one, SLV-1005
 */
export async function openSharedOperatorToken(
  dataDir: string | undefined,
  store: Store,
  options: { readonly replace: boolean },
): Promise<SharedOperatorToken> {
  const check = async (shown: string | undefined): Promise<boolean> => {
    const kv = shown === undefined ? undefined : await store.get(key);
    if (kv === undefined || shown === undefined) return false;
    return timingSafeEqual(Buffer.from(hashOf(shown)), Buffer.from(records.decode(kv).sha256));
  };
  const isFirst = (await store.get(key)) === undefined;
  const found = dataDir === undefined ? undefined : loadOperatorToken(dataDir);
  if (!isFirst && !options.replace && found === undefined) return { check };
  const held = found ?? loadOrCreateOperatorToken(dataDir);
  if (isFirst || options.replace) {
    const { succeeded } = await store.txn({
      compare: options.replace ? [] : [{ kind: 'absent', key }],
      success: [{ kind: 'put', key, value: records.encode({ sha256: hashOf(held.token) }) }],
    });
    if (!succeeded && found === undefined) {
      // Another process began at the same moment, and its token is the one.
      if (held.path !== undefined) await rm(held.path);
      return { check };
    }
  }
  if (!(await check(held.token)))
    throw new MeshError(
      'SLV-2189',
      `${held.path ?? 'The operator token here'} is not the operator token of this mesh.`,
    );
  return held.path === undefined ? { check } : { check, path: held.path };
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
