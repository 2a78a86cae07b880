import { z } from 'zod';
import type { Intention } from '#policies/intention.ts';
import { feedIntentionSchema } from '#policies/wire/feed.ts';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** An intention within its destination's entry, which has the rest. */
export type StoredIntention = Omit<Intention, 'destination' | 'meta' | 'createIndex' | 'modifyIndex'>;
/** What comes out of JSON has no undefined fields, so it is as exact as the model. */
export const storedIntentionSchema = feedIntentionSchema
  .omit({ destination: true, meta: true, createIndex: true, modifyIndex: true })
  .transform((stored) => stored as StoredIntention);

const meta = z.record(z.string(), z.string());

/** Settings of one service. */
const serviceDefaultsSchema = z.object({
  Kind: z.literal('service-defaults'),
  Name: z.string(),
  Protocol: z.enum(['tcp', 'http', 'http2', 'grpc']),
  Meta: meta,
});

/** Who may call one destination: the only place where intentions are kept. Its revisions are the intentions' revisions. */
const serviceIntentionsSchema = z.object({
  Kind: z.literal('service-intentions'),
  /** The destination; `*` for all. */
  Name: z.string(),
  Meta: meta,
  /** In the order in which they were written. */
  intentions: z.array(storedIntentionSchema),
});

/** A config entry as it is stored. */
export const configEntrySchema = z.discriminatedUnion('Kind', [serviceDefaultsSchema, serviceIntentionsSchema]);
export type ConfigEntryRecord = z.infer<typeof configEntrySchema>;
export type ConfigEntry = Indexed<ConfigEntryRecord>;
export type ServiceIntentionsRecord = z.infer<typeof serviceIntentionsSchema>;
export type ServiceDefaultsRecord = z.infer<typeof serviceDefaultsSchema>;

/** Kinds that are kept. Consul's others: a later issue. */
export const configKinds = ['service-defaults', 'service-intentions'] as const;
export type ConfigKind = (typeof configKinds)[number];

/** All config entries, by kind and name. */
export class ConfigEntries {
  readonly #byKey = new Map<string, ConfigEntry>();

  get(kind: ConfigKind, name: string): ConfigEntry | undefined {
    return this.#byKey.get(keyOf('config', kind, name));
  }

  /** Ordered by name. */
  list(kind: ConfigKind): ConfigEntry[] {
    return [...this.#byKey.values()]
      .filter(({ record }) => record.Kind === kind)
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

  #touch({ Kind, Name }: ConfigEntryRecord, touch: Touch): void {
    touch(`kind/${Kind}`);
    touch(`entry/${Kind}/${Name}`);
    if (Kind === 'service-defaults') touch(`upstream/${Name}`);
    touch(`destination/${Name}`);
  }
}
