import type { KeyValue, WatchEvent } from '../contract.ts';

/** A row of the history table, as node:sqlite gives it. */
export interface HistoryRow {
  readonly id: number;
  readonly revision: number;
  readonly key: string;
  readonly deleted: number;
  readonly value: Uint8Array | null;
  readonly create_revision: number;
  readonly version: number;
  readonly lease: string | null;
}

const columns = 'h.id, h.revision, h.key, h.deleted, h.value, h.create_revision, h.version, h.lease';
/** The start of a SELECT of whole rows. */
export const selectRows = `SELECT ${columns} FROM history h`;

/** The row as the contract shows it. */
export function toKeyValue(row: HistoryRow): KeyValue {
  return {
    key: row.key,
    // SQLite's binding of no bytes is NULL.
    value: row.value ?? new Uint8Array(),
    createRevision: row.create_revision,
    modRevision: row.revision,
    version: row.version,
    ...(row.lease === null ? {} : { lease: row.lease }),
  };
}

/** The row as what happened. */
export function toEvent(row: HistoryRow): WatchEvent {
  return row.deleted === 1
    ? { kind: 'delete', key: row.key, modRevision: row.revision }
    : { kind: 'put', kv: toKeyValue(row) };
}
