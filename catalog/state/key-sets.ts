import { z } from 'zod';
import type { IssuerKey } from '#policies/jwks.ts';
import { issuerKeySchema } from '#policies/wire/feed.ts';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** The key set of a `jwt-provider` as it was fetched: kept, so that a catalog that starts while the issuer is away has it all the same. */
const recordSchema = z.object({
  Provider: z.string(),
  /** Where it came from; of another address it says nothing. */
  URI: z.string(),
  Keys: z.array(issuerKeySchema),
  /** When these keys were first there. */
  FetchedAtMs: z.number(),
});
export type KeySetRecord = Omit<z.infer<typeof recordSchema>, 'Keys'> & { readonly Keys: readonly IssuerKey[] };

/** Fetched key sets, by provider. */
export class KeySets {
  readonly #byKey = new Map<string, Indexed<KeySetRecord>>();

  get(provider: string): Indexed<KeySetRecord> | undefined {
    return this.#byKey.get(keyOf('jwks', provider));
  }

  list(): KeySetRecord[] {
    return [...this.#byKey.values()].map(({ record }) => record);
  }

  put(kv: KeyValue, touch: Touch): void {
    // What comes out of JSON has no undefined fields, so it is as exact as the model.
    this.#byKey.set(kv.key, decode(recordSchema, kv) as Indexed<KeySetRecord>);
    touch('destination/*');
  }

  delete(key: string, touch: Touch): void {
    if (this.#byKey.delete(key)) touch('destination/*');
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }
}
