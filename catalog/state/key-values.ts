import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { catalogPrefix } from './keys.ts';
import type { Touch } from './topics.ts';

/** An entry of Consul's KV as it is stored. */
export const entryRecordSchema = z.object({
  Key: z.string(),
  /** base64. */
  Value: z.string(),
  /** The client's own; 64 bits, so its digits. */
  Flags: z.string(),
});
export type EntryRecord = z.infer<typeof entryRecordSchema>;
export type Entry = Indexed<EntryRecord>;

const kvPrefix = `${catalogPrefix}kv/`;

/** @returns the store's key of an entry. What begins alike is stored under what begins alike, so it is the store's prefix of all keys with a prefix too. */
export function storeKeyOf(key: string): string {
  return kvPrefix + encodeURIComponent(key).replaceAll('%2F', '/');
}

/** The part of a prefix up to its last slash: lists are waited for by folder, so what changes in others wakes nobody. */
export function folderOf(prefix: string): string {
  return prefix.slice(0, prefix.lastIndexOf('/') + 1);
}

/** Consul's KV, in memory. */
export class KeyValues {
  readonly #byStoreKey = new Map<string, Entry>();
  /** Entries by key, made when it is next asked for. */
  #sorted: readonly Entry[] | undefined;

  get(key: string): Entry | undefined {
    return this.#byStoreKey.get(storeKeyOf(key));
  }

  /** Every entry whose key has the prefix, ordered by key. */
  under(prefix: string): readonly Entry[] {
    this.#sorted ??= [...this.#byStoreKey.values()].sort((a, b) => (a.record.Key < b.record.Key ? -1 : 1));
    const all = this.#sorted;
    if (prefix === '') return all;
    let [low, high] = [0, all.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((all[middle]?.record.Key ?? '') < prefix) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (all[end]?.record.Key.startsWith(prefix) === true) end += 1;
    return all.slice(low, end);
  }

  get size(): number {
    return this.#byStoreKey.size;
  }

  put(kv: KeyValue, touch: Touch): void {
    const entry = decode(entryRecordSchema, kv);
    this.#byStoreKey.set(kv.key, entry);
    this.#changed(entry.record.Key, touch);
  }

  delete(storeKey: string, touch: Touch): void {
    const key = this.#byStoreKey.get(storeKey)?.record.Key;
    if (key === undefined) return;
    this.#byStoreKey.delete(storeKey);
    this.#changed(key, touch);
  }

  keys(): Iterable<string> {
    return this.#byStoreKey.keys();
  }

  #changed(key: string, touch: Touch): void {
    this.#sorted = undefined;
    touch(`kv/${key}`);
    for (let folder = folderOf(key); ; folder = folderOf(folder.slice(0, -1))) {
      touch(`kv-folder/${folder}`);
      if (folder === '') return;
    }
  }
}
