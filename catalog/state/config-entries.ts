import { z } from 'zod';
import { type EntriesByKind, entryKinds, type KeptEntry } from '#policies/config-entries/config-entry.ts';
import type { Intention } from '#policies/intention.ts';
import { jwtRequirementSchema } from '#policies/jwt-form.ts';
import { feedIntentionSchema } from '#policies/wire/feed.ts';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** An intention within its destination's entry, which has the rest. */
export type StoredIntention = Omit<Intention, 'destination' | 'meta' | 'jwt' | 'createIndex' | 'modifyIndex'>;
/** What comes out of JSON has no undefined fields, so it is as exact as the model. */
export const storedIntentionSchema = feedIntentionSchema
  .omit({ destination: true, meta: true, jwt: true, createIndex: true, modifyIndex: true })
  .transform((stored) => stored as StoredIntention);

const meta = z.record(z.string(), z.string());

/** Who may call one destination: the only place where intentions are kept. Its revisions are the intentions' revisions. */
const serviceIntentionsSchema = z.object({
  Kind: z.literal('service-intentions'),
  /** The destination; `*` for all. */
  Name: z.string(),
  Meta: meta,
  /** Asked of every request to the destination. */
  JWT: jwtRequirementSchema.exactOptional(),
  /** In the order in which they were written. */
  intentions: z.array(storedIntentionSchema),
});

/** The other kinds are kept as they were judged when they were written (policies/config-entries/), and not judged again. */
const keptEntrySchema = z
  .looseObject({ Kind: z.enum(entryKinds), Name: z.string() })
  .transform((stored) => stored as unknown as KeptEntry);

/** A config entry as it is stored. */
export const configEntrySchema = z.union([serviceIntentionsSchema, keptEntrySchema]);
export type ServiceIntentionsRecord = z.infer<typeof serviceIntentionsSchema>;

/** What is stored, by kind. */
export interface RecordsByKind extends EntriesByKind {
  'service-intentions': ServiceIntentionsRecord;
}
export type ConfigKind = keyof RecordsByKind;
export type ConfigEntryRecord = RecordsByKind[ConfigKind];
export type ConfigEntry = Indexed<ConfigEntryRecord>;

/** Kinds that are kept. */
export const configKinds: readonly ConfigKind[] = ['service-intentions', ...entryKinds];

/** All config entries, by kind and name. */
export class ConfigEntries {
  readonly #byKey = new Map<string, ConfigEntry>();

  get<Kind extends ConfigKind>(kind: Kind, name: string): Indexed<RecordsByKind[Kind]> | undefined {
    // What is stored under the key of a kind is of that kind.
    return this.#byKey.get(keyOf('config', kind, name)) as Indexed<RecordsByKind[Kind]> | undefined;
  }

  /** Ordered by name. */
  list<Kind extends ConfigKind>(kind: Kind): Indexed<RecordsByKind[Kind]>[] {
    return [...this.#byKey.values()]
      .filter((entry): entry is Indexed<RecordsByKind[Kind]> => entry.record.Kind === kind)
      .sort((a, b) => (a.record.Name < b.record.Name ? -1 : 1));
  }

  /** @returns the entry that was put */
  put(kv: KeyValue, touch: Touch): ConfigEntry {
    const entry = decode(configEntrySchema, kv);
    this.#byKey.set(kv.key, entry);
    this.#touch(entry.record, touch);
    return entry;
  }

  /** @returns the entry that ended */
  delete(key: string, touch: Touch): ConfigEntry | undefined {
    const entry = this.#byKey.get(key);
    if (entry === undefined) return undefined;
    this.#byKey.delete(key);
    this.#touch(entry.record, touch);
    return entry;
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  /** The protocol of a service decides what its proxies and its callers' do; proxy-defaults may be the protocol of all of them. */
  #touch({ Kind, Name }: ConfigEntryRecord, touch: Touch): void {
    touch(`kind/${Kind}`);
    touch(`entry/${Kind}/${Name}`);
    if (Kind === 'service-intentions') touch(`destination/${Name}`);
    if (Kind === 'jwt-provider') touch('destination/*'); // whoever asks for its tokens
    if (Kind === 'mesh') touch('upstream/*'); // what all services let pass
    if (Kind !== 'service-defaults' && Kind !== 'proxy-defaults') return;
    const services = Kind === 'service-defaults' ? Name : '*';
    touch(`upstream/${services}`);
    touch(`destination/${services}`);
  }
}
