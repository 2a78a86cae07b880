import type { KeyValue } from '#store/contract.ts';

/** A thing in memory with the revisions that made it and changed it last (Consul's CreateIndex and ModifyIndex). */
export interface Indexed<T> {
  readonly record: T;
  readonly createIndex: number;
  readonly modifyIndex: number;
}

/** @returns the stored JSON value, parsed by the record's schema. Throws what the schema throws: a value that is not ours is a fault to see. */
export function decode<T>(schema: { parse(value: unknown): T }, kv: KeyValue): Indexed<T> {
  const record = schema.parse(JSON.parse(Buffer.from(kv.value).toString('utf8')));
  return { record, createIndex: kv.createRevision, modifyIndex: kv.modRevision };
}

/** @returns a record as it is stored. */
export function encode(record: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(record), 'utf8');
}
