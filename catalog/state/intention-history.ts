import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { type StoredIntention, storedIntentionSchema } from './config-entries.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';

/**
 * One write of intentions of one destination, written in the same transaction. Only what was before is kept: what came after is the `before` of the next write
 * of the pair, or what holds now. So a record is no larger than what it replaced.
 */
const recordSchema = z.object({
  Destination: z.string(),
  /** 1 for the first write of the destination. */
  Number: z.number(),
  AtMs: z.number(),
  /** Who wrote, as in the audit log. */
  By: z.string(),
  How: z.enum(['written', 'deleted', 'reverted', 'expired', 'imported']),
  Changes: z.array(z.object({ source: z.string(), before: storedIntentionSchema.nullable() })),
});
export type IntentionHistoryRecord = Omit<z.infer<typeof recordSchema>, 'Changes'> & {
  readonly Changes: readonly { readonly source: string; readonly before: StoredIntention | null }[];
};

/** Writes kept of one destination, and of all: the oldest go first. */
const maxPerDestination = 32;
const maxRecords = 20_000;

/** The last writes of intentions, by destination. They are kept as bytes: rarely read, and as many as there are writes. */
export class IntentionHistory {
  readonly #byKey = new Map<string, KeyValue>();
  readonly #ofDestination = new Map<string, Set<string>>();

  /** The writes that are remembered, the oldest first, each with the revision that it made. */
  of(destination: string): Indexed<IntentionHistoryRecord>[] {
    const keys = [...(this.#ofDestination.get(folderOf(historyKey(destination, 1))) ?? [])].sort();
    return keys.flatMap((key) => {
      const kv = this.#byKey.get(key);
      return kv === undefined ? [] : [decode(recordSchema, kv)];
    });
  }

  /** Where the next write of the destination goes, and which records have to make room for it. */
  next(destination: string): { readonly number: number; readonly key: string; readonly drop: readonly string[] } {
    const keys = [...(this.#ofDestination.get(folderOf(historyKey(destination, 1))) ?? [])].sort();
    const number = Number(keys.at(-1)?.slice(-digits) ?? 0) + 1;
    const drop = keys.slice(0, Math.max(0, keys.length - maxPerDestination + 1));
    if (drop.length === 0 && this.#byKey.size >= maxRecords) drop.push(...this.#oldest());
    return { number, key: historyKey(destination, number), drop };
  }

  put(kv: KeyValue): void {
    this.#byKey.set(kv.key, kv);
    const folder = folderOf(kv.key);
    this.#ofDestination.set(folder, (this.#ofDestination.get(folder) ?? new Set()).add(kv.key));
  }

  delete(key: string): void {
    this.#byKey.delete(key);
    const keys = this.#ofDestination.get(folderOf(key));
    keys?.delete(key);
    if (keys?.size === 0) this.#ofDestination.delete(folderOf(key));
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  #oldest(): string[] {
    let oldest: KeyValue | undefined;
    for (const kv of this.#byKey.values())
      if (kv.modRevision < (oldest?.modRevision ?? Number.POSITIVE_INFINITY)) oldest = kv;
    return oldest === undefined ? [] : [oldest.key];
  }
}

/** Numbers are padded, so that keys stand in the order of the writes. */
const digits = 10;

function historyKey(destination: string, number: number): string {
  return keyOf('intention-history', destination, String(number).padStart(digits, '0'));
}

function folderOf(key: string): string {
  return key.slice(0, key.lastIndexOf('/'));
}
