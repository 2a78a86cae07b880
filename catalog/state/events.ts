import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** Events that are remembered (Consul). The next one takes the place of the oldest. */
export const keptEvents = 256;

/** An event as it is stored: Consul's UserEvent. */
const eventRecordSchema = z.object({
  ID: z.string(),
  Name: z.string(),
  /** base64; empty: none. */
  Payload: z.string(),
  NodeFilter: z.string(),
  ServiceFilter: z.string(),
  TagFilter: z.string(),
  /** Counts events. */
  LTime: z.int(),
});
export type EventRecord = z.infer<typeof eventRecordSchema>;

/** @returns where the event of this number is stored: over the one that it makes forgotten */
export function eventKey(lTime: number): string {
  return keyOf('events', String(lTime % keptEvents));
}

/** The last events. */
export class Events {
  readonly #byKey = new Map<string, Indexed<EventRecord>>();

  at(key: string): Indexed<EventRecord> | undefined {
    return this.#byKey.get(key);
  }

  /** The oldest first. */
  list(): EventRecord[] {
    return [...this.#byKey.values()].map(({ record }) => record).sort((a, b) => a.LTime - b.LTime);
  }

  put(kv: KeyValue, touch: Touch): void {
    this.#byKey.set(kv.key, decode(eventRecordSchema, kv));
    touch('events');
  }

  delete(key: string, touch: Touch): void {
    if (this.#byKey.delete(key)) touch('events');
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }
}
