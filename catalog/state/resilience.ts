import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** A resilience policy as it is stored: what was written, so that better defaults of a later release reach it. */
export const resilienceRecordSchema = z.object({ Service: z.string(), Policy: z.record(z.string(), z.unknown()) });
export type ResilienceRecord = z.infer<typeof resilienceRecordSchema>;

/** Resilience policies, by the service that is called. */
export class ResiliencePolicies {
  readonly #byKey = new Map<string, Indexed<ResilienceRecord>>();

  get(service: string): Indexed<ResilienceRecord> | undefined {
    return this.#byKey.get(keyOf('resilience', service));
  }

  put(kv: KeyValue, touch: Touch): void {
    const policy = decode(resilienceRecordSchema, kv);
    this.#byKey.set(kv.key, policy);
    this.#touch(policy.record, touch);
  }

  delete(key: string, touch: Touch): void {
    const policy = this.#byKey.get(key);
    if (policy === undefined) return;
    this.#byKey.delete(key);
    this.#touch(policy.record, touch);
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  #touch({ Service }: ResilienceRecord, touch: Touch): void {
    touch(`resilience/${Service}`);
    touch(`upstream/${Service}`);
  }
}
