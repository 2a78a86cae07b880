import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { quote } from '#policies/quote.ts';
import type { Compare, Operation } from '#store/contract.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged } from '../state/catalog-writer.ts';
import { encode } from '../state/indexed.ts';
import { type Entry, type EntryRecord, storeKeyOf } from '../state/key-values.ts';
import { checkKey, checkPrefix, entryView, maxValueBytes } from './plan.ts';

/** Keys that one transaction may look at or change: what one transaction of the store can compare, less what the writer adds. */
const maxKeys = 120;

const verbs = [
  'set',
  'cas',
  'get',
  'get-or-empty',
  'get-tree',
  'check-index',
  'check-not-exists',
  'delete',
  'delete-cas',
  'delete-tree',
] as const;
const sessionVerbs: readonly string[] = ['lock', 'unlock', 'check-session'];

/** A step on the KV as clients send it. */
export const kvStepSchema = z.object({
  Verb: z.string().max(32).default(''),
  Key: z.string().max(4_096).default(''),
  Value: z.base64().max(1_000_000).default(''),
  Flags: z.int().min(0).default(0),
  Index: z.int().min(0).default(0),
});

/** One step on the KV that can be carried out. */
export interface Step {
  readonly verb: (typeof verbs)[number];
  readonly key: string;
  readonly record: EntryRecord;
  readonly index: number;
}

/** @throws ConsulError 400, 413, 501 */
export function toStep({ Verb, Key, Value, Flags, Index }: z.infer<typeof kvStepSchema>): Step {
  if (sessionVerbs.includes(Verb)) throw new ConsulError(501, 'Sessions and locks are not offered; use cas');
  const verb = verbs.find((one) => one === Verb);
  if (verb === undefined) throw new ConsulError(400, `unknown KV verb ${quote(Verb)}`);
  if (verb.endsWith('-tree')) checkPrefix(Key);
  else checkKey(Key);
  const size = Buffer.from(Value, 'base64').length;
  if (size > maxValueBytes)
    throw new ConsulError(413, `Value for key ${quote(Key)} is too large (${size} > ${maxValueBytes} bytes)`);
  return { verb, key: Key, record: { Key, Value, Flags: String(Flags) }, index: Index };
}

type View = () => readonly unknown[];
const noView: View = () => [];

/** What the KV would be after some steps. */
export class KvDraft {
  readonly #state: CatalogState;
  /** What the store holds for the keys that were looked at. */
  readonly #before = new Map<string, Entry | undefined>();
  /** What was written; undefined: deleted. */
  readonly #after = new Map<string, EntryRecord | undefined>();

  constructor(state: CatalogState) {
    this.#state = state;
  }

  /** @returns how the step's result is read once the transaction is written; a text: why it can't be */
  take({ verb, key, record, index }: Step): View | string {
    const now = verb.endsWith('-tree') ? undefined : this.#look(key);
    const shown = quote(key);
    switch (verb) {
      case 'get':
        return now === undefined ? `key ${shown} doesn't exist` : this.#view(key, now);
      case 'get-or-empty':
        return now === undefined ? () => [kvOf(emptyEntry(key))] : this.#view(key, now);
      case 'get-tree': {
        const found = this.#under(key).map((one) => this.#view(one, this.#look(one) ?? emptyRecord(one)));
        return () => found.flatMap((view) => view());
      }
      case 'check-index':
        if (now === undefined) return `key ${shown} doesn't exist`;
        return this.#indexOf(key) === index
          ? this.#viewWithoutValue(key)
          : `current modify index ${this.#indexOf(key)} does not match ${index} of key ${shown}`;
      case 'check-not-exists':
        return now === undefined ? noView : `key ${shown} exists`;
      case 'cas':
        if (this.#indexOf(key) !== index) return `failed to set key ${shown}, index is stale`;
        this.#after.set(key, record);
        return this.#viewWithoutValue(key);
      case 'set':
        this.#after.set(key, record);
        return this.#viewWithoutValue(key);
      case 'delete-cas':
        if (now !== undefined && this.#indexOf(key) !== index) return `failed to delete key ${shown}, index is stale`;
        this.#after.set(key, undefined);
        return noView;
      case 'delete':
        this.#after.set(key, undefined);
        return noView;
      case 'delete-tree':
        for (const one of this.#under(key)) this.#after.set(one, undefined);
        return noView;
    }
  }

  get compare(): Compare[] {
    return [...this.#before].map(([key, entry]) => unchanged(storeKeyOf(key), entry?.modifyIndex));
  }

  get operations(): Operation[] {
    return [...this.#after].flatMap(([name, record]): Operation[] => {
      const before = this.#before.get(name)?.record;
      const key = storeKeyOf(name);
      if (record === undefined) return before === undefined ? [] : [{ kind: 'delete', key }];
      const same = before !== undefined && before.Value === record.Value && before.Flags === record.Flags;
      return same ? [] : [{ kind: 'put', key, value: encode(record) }];
    });
  }

  #look(key: string): EntryRecord | undefined {
    if (!this.#before.has(key)) {
      if (this.#before.size >= maxKeys) throw new ConsulError(413, `Transaction concerns more than ${maxKeys} keys`);
      this.#before.set(key, this.#state.kv.get(key));
    }
    return this.#after.has(key) ? this.#after.get(key) : this.#before.get(key)?.record;
  }

  #under(prefix: string): string[] {
    const stored = this.#state.kv.under(prefix).map(({ record }) => record.Key);
    const written = [...this.#after.keys()].filter((key) => key.startsWith(prefix));
    return [...new Set([...stored, ...written])].sort().filter((key) => this.#look(key) !== undefined);
  }

  /** 0: not there. What this transaction wrote has no index before it is written, and equals none. */
  #indexOf(key: string): number {
    if (!this.#after.has(key)) return this.#before.get(key)?.modifyIndex ?? 0;
    return this.#after.get(key) === undefined ? 0 : Number.NaN;
  }

  #view(key: string, record: EntryRecord): View {
    return () => [kvOf({ ...this.#indexed(key), record })];
  }

  /** Writes answer without the value, which the client has. */
  #viewWithoutValue(key: string): View {
    return () => {
      const entry = this.#indexed(key);
      return [kvOf({ ...entry, record: { ...entry.record, Value: '' } })];
    };
  }

  #indexed(key: string): Entry {
    return this.#state.kv.get(key) ?? this.#before.get(key) ?? emptyEntry(key);
  }
}

function emptyRecord(key: string): EntryRecord {
  return { Key: key, Value: '', Flags: '0' };
}

function emptyEntry(key: string): Entry {
  return { record: emptyRecord(key), createIndex: 0, modifyIndex: 0 };
}

function kvOf(entry: Entry): unknown {
  return { KV: entryView(entry) };
}
