import type { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { KeyValue } from '#store/contract.ts';

/** Turns a kind of record into the bytes of the store and back. */
export interface StoredRecord<T> {
  encode(record: T): Uint8Array;
  /** @throws MeshError SLV-2143 when the store holds something else under the key: nothing is guessed */
  decode(kv: Pick<KeyValue, 'key' | 'value'>): T;
}

/** Records as JSON, checked when read: they may have been written by another release. */
export function storedRecord<T>(schema: z.ZodType<T>): StoredRecord<T> {
  return {
    encode: (record) => Buffer.from(JSON.stringify(record)),
    decode({ key, value }) {
      try {
        return schema.parse(JSON.parse(Buffer.from(value).toString('utf8')));
      } catch (cause) {
        throw new MeshError('SLV-2143', `The record ${key} of the store can not be read.`, { detail: { key }, cause });
      }
    },
  };
}
