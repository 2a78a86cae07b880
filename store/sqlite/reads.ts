import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { KeyValue, RangeOptions, RangeResult, StoreStatus, WatchBatch, WatchEvent } from '../contract.ts';
import { prefixEnd } from './prefix-range.ts';
import type { HistoryPage, StoreCalls } from './protocol.ts';
import { type HistoryRow, selectRows, toEvent, toKeyValue } from './rows.ts';

/** Where the store stands. */
export interface Position {
  readonly revision: number;
  readonly compactRevision: number;
}

/** A page of history ends at the first revision that reaches one of these, so that no page outgrows memory or a thread's message. */
const pageRows = 1000;
const pageBytes = 4 * 1024 * 1024;

/** Everything that reads; it sees what its caller's transaction, or the last commit, has written. */
export class Reads {
  readonly #current: StatementSync;
  readonly #asOf: StatementSync;
  readonly #range: StatementSync;
  readonly #history: StatementSync;
  readonly #size: StatementSync;

  constructor(database: DatabaseSync) {
    this.#current = database.prepare(`${selectRows} WHERE h.key = ? ORDER BY h.revision DESC LIMIT 1`);
    this.#asOf = database.prepare(`${selectRows} WHERE h.key = ? AND h.revision <= ? ORDER BY h.revision DESC LIMIT 1`);
    this.#range = database.prepare(
      `${selectRows} WHERE h.key >= :from AND h.key <> :after AND (:end IS NULL OR h.key < :end) AND h.deleted = 0
         AND h.revision = (SELECT max(n.revision) FROM history n WHERE n.key = h.key AND n.revision <= :revision)
       ORDER BY h.key LIMIT :limit`,
    );
    this.#history = database.prepare(
      `${selectRows} WHERE h.revision BETWEEN :first AND :last AND h.key >= :from AND (:end IS NULL OR h.key < :end)
       ORDER BY h.revision, h.id`,
    );
    this.#size = database.prepare('SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size');
  }

  /** The newest row of a key; undefined when it was never written or its newest row is a delete. */
  currentRow(key: string): HistoryRow | undefined {
    return live(this.#current.get(key) as HistoryRow | undefined);
  }

  get({ key, revision }: StoreCalls['get']['in'], at: Position): KeyValue | undefined {
    if (revision === undefined) {
      const row = this.currentRow(key);
      return row && toKeyValue(row);
    }
    requireHeld(revision, at);
    const row = live(this.#asOf.get(key, revision) as HistoryRow | undefined);
    return row && toKeyValue(row);
  }

  range({ prefix, revision, ...part }: StoreCalls['range']['in'], at: Position): RangeResult {
    if (revision !== undefined) requireHeld(revision, at);
    return { kvs: this.rows(prefix, revision ?? at.revision, part).map(toKeyValue), revision: at.revision };
  }

  /** The live rows with a prefix as of a revision, by key. */
  rows(prefix: string, revision: number, { limit = -1, after = '' }: RangeOptions = {}): HistoryRow[] {
    const end = prefixEnd(prefix) ?? null;
    const from = Buffer.compare(Buffer.from(after), Buffer.from(prefix)) > 0 ? after : prefix;
    return this.#range.all({ from, after, end, revision, limit }) as unknown as HistoryRow[];
  }

  history({ prefix, fromRevision, toRevision }: StoreCalls['history']['in'], at: Position): HistoryPage {
    requireHeld(fromRevision, at);
    const end = prefixEnd(prefix) ?? null;
    const batches: WatchBatch[] = [];
    let events: WatchEvent[] = [];
    let revision = fromRevision;
    let rows = 0;
    let bytes = 0;
    for (const found of this.#history.iterate({ first: fromRevision, last: toRevision, from: prefix, end })) {
      const row = found as unknown as HistoryRow;
      if (row.revision !== revision) {
        if (events.length > 0) batches.push({ revision, events });
        if (rows >= pageRows || bytes >= pageBytes) return { batches, nextRevision: row.revision };
        events = [];
        revision = row.revision;
      }
      events.push(toEvent(row));
      rows += 1;
      bytes += row.value?.byteLength ?? 0;
    }
    if (events.length > 0) batches.push({ revision, events });
    return { batches, nextRevision: toRevision + 1 };
  }

  status(at: Position): StoreStatus {
    const bytes = Number(this.#size.get()?.['bytes']);
    return { engine: 'sqlite', revision: at.revision, compactRevision: at.compactRevision, sizeBytes: bytes };
  }
}

function live(row: HistoryRow | undefined): HistoryRow | undefined {
  return row === undefined || row.deleted === 1 ? undefined : row;
}

function requireHeld(revision: number, at: Position): void {
  if (revision < at.compactRevision) {
    throw new MeshError('SLV-3502', `Revision ${revision} is compacted; history begins at ${at.compactRevision}.`);
  }
  if (revision > at.revision) {
    throw new MeshError('SLV-3507', `Revision ${revision} is not reached yet; the store is at ${at.revision}.`);
  }
}
