import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Operation } from '#store/contract.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { encode } from '../state/indexed.ts';
import { type Entry, type EntryRecord, storeKeyOf } from '../state/key-values.ts';

/** Most bytes of a value (Consul: kv_max_value_size). */
export const maxValueBytes = 512 * 1024;
/** Longest key in bytes as the store keeps it: percent-encoded but for its slashes. */
const maxStoreKeyBytes = 1_000;

/** @returns the key in the URL of a request: all that follows /v1/kv/, slashes included, decoded. Throws ConsulError 400 */
export function keyOfUrl(url: string): string {
  const [, encoded = ''] = /^[^?#]*?\/v1\/kv\/([^?#]*)/.exec(url) ?? [];
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw new ConsulError(400, 'The key in the path is not percent-encoded UTF-8'); // URIError says no more
  }
}

/** Throws ConsulError 400 for a key that can't be kept. */
export function checkKey(key: string): void {
  if (key === '') throw new ConsulError(400, 'Missing key name');
  checkPrefix(key);
}

/** Throws ConsulError 400 for the beginning of a key that can't be kept. */
export function checkPrefix(prefix: string): void {
  if (!prefix.isWellFormed()) throw new ConsulError(400, 'The key is not well-formed Unicode');
  if (prefix.length > maxStoreKeyBytes || storeKeyOf(prefix).length > maxStoreKeyBytes) {
    throw new ConsulError(400, `The key is longer than ${maxStoreKeyBytes} bytes, percent-encoded`);
  }
}

/** An entry to write, as the client gives it. @param cas the ModifyIndex that it must have now, 0 for none; undefined: whatever it is */
export function planPut(state: CatalogState, record: EntryRecord, cas: number | undefined): WritePlan<boolean> {
  const before = state.kv.get(record.Key);
  if (cas !== undefined && cas !== (before?.modifyIndex ?? 0)) return nothing(false);
  const same = before !== undefined && before.record.Value === record.Value && before.record.Flags === record.Flags;
  if (same) return nothing(true); // the index stays, so nobody wakes (Consul)
  const key = storeKeyOf(record.Key);
  return {
    compare: cas === undefined ? [] : [unchanged(key, before?.modifyIndex)],
    operations: [{ kind: 'put', key, value: encode(record) }],
    result: true,
  };
}

/** Ends one entry. What is not there has ended, whatever index was asked for (Consul). */
export function planDelete(state: CatalogState, key: string, cas: number | undefined): WritePlan<boolean> {
  const before = state.kv.get(key);
  if (before === undefined) return nothing(true);
  if (cas !== undefined && cas !== before.modifyIndex) return nothing(false);
  return {
    compare: cas === undefined ? [] : [unchanged(storeKeyOf(key), before.modifyIndex)],
    operations: [{ kind: 'delete', key: storeKeyOf(key) }],
    result: true,
  };
}

/** Ends every entry whose key has the prefix. */
export function planDeleteTree(state: CatalogState, prefix: string): WritePlan<boolean> {
  const operations: Operation[] = [{ kind: 'delete-prefix', prefix: storeKeyOf(prefix) }];
  return state.kv.under(prefix).length === 0 ? nothing(true) : { compare: [], operations, result: true };
}

/** KVPair: an entry as Consul's clients know it. An empty value is null, and Flags are digits, for they may be more than a JavaScript number holds. */
export function entryView({ record, createIndex, modifyIndex }: Entry): unknown {
  return {
    LockIndex: 0,
    Key: record.Key,
    Flags: JSON.rawJSON(record.Flags),
    Value: record.Value === '' ? null : record.Value,
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

function nothing(result: boolean): WritePlan<boolean> {
  return { compare: [], operations: [], result };
}
