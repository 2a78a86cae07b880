import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Compare, Lease, Operation, Transaction, TransactionResult, WatchBatch, WatchEvent } from '../contract.ts';
import type { StoreCalls } from './protocol.ts';
import type { Position, Reads } from './reads.ts';

/** Where the store stands, with the last lease number given. */
interface Counters extends Position {
  readonly lastLease: number;
}

/** Rows that one step of a compaction looks at: small, so that no write waits long behind it. */
const compactionStep = 1000;

/**
 * Everything that writes, inside a transaction of SQLite that engine.ts begins and ends. Each request is decided (compares, lease, limits)
 * before its first row is written, so one that is refused leaves nothing behind.
 */
export class Writes {
  readonly #reads: Reads;
  readonly #insert: StatementSync;
  readonly #readMeta: StatementSync;
  readonly #saveMeta: StatementSync;
  readonly #leases: StatementSync;
  readonly #findLease: StatementSync;
  readonly #insertLease: StatementSync;
  readonly #deleteLease: StatementSync;
  readonly #attach: StatementSync;
  readonly #detach: StatementSync;
  readonly #keysOfLease: StatementSync;
  readonly #compactable: StatementSync;
  readonly #deleteRow: StatementSync;
  #at: Counters;
  #saved: Counters;

  constructor(database: DatabaseSync, reads: Reads) {
    this.#reads = reads;
    this.#insert = database.prepare(
      'INSERT INTO history (revision, key, deleted, value, create_revision, version, lease) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#readMeta = database.prepare(
      'SELECT revision, compact_revision AS compactRevision, last_lease AS lastLease FROM meta',
    );
    this.#saveMeta = database.prepare('UPDATE meta SET revision = ?, compact_revision = ?, last_lease = ?');
    this.#leases = database.prepare('SELECT id, ttl_ms AS ttlMs FROM lease');
    this.#findLease = database.prepare('SELECT id FROM lease WHERE id = ?');
    this.#insertLease = database.prepare('INSERT INTO lease (id, ttl_ms) VALUES (?, ?)');
    this.#deleteLease = database.prepare('DELETE FROM lease WHERE id = ?');
    this.#attach = database.prepare('INSERT INTO lease_key (lease, key) VALUES (?, ?) ON CONFLICT DO NOTHING');
    this.#detach = database.prepare('DELETE FROM lease_key WHERE lease = ? AND key = ?');
    this.#keysOfLease = database.prepare('SELECT key FROM lease_key WHERE lease = ? ORDER BY key');
    this.#compactable = database.prepare(
      `SELECT h.id, h.deleted = 1 OR EXISTS (
         SELECT 1 FROM history n WHERE n.key = h.key AND n.revision > h.revision AND n.revision <= :revision) AS dead
       FROM history h WHERE h.id > :after AND h.revision < :revision ORDER BY h.id LIMIT ${compactionStep}`,
    );
    this.#deleteRow = database.prepare('DELETE FROM history WHERE id = ?');
    this.#at = this.#readMeta.get() as unknown as Counters;
    this.#saved = this.#at;
  }

  /** As of the last request applied. */
  get position(): Position {
    return this.#at;
  }

  /** Writes the counters, when they moved, before a commit. @returns whether anything is there to commit */
  save(): boolean {
    if (this.#at === this.#saved) return false;
    this.#saveMeta.run(this.#at.revision, this.#at.compactRevision, this.#at.lastLease);
    return true;
  }

  /** The commit was synced. */
  committed(): void {
    this.#saved = this.#at;
  }

  /** The transaction was rolled back: as if nothing had been asked. */
  rolledBack(): void {
    this.#at = this.#saved;
  }

  /** Leases that were granted and not ended. */
  leases(): Lease[] {
    return this.#leases.all().map((row) => ({ id: String(row['id']), ttlMs: Number(row['ttlMs']) }));
  }

  /** @param commits the new revision, if there is one, is appended to it */
  txn(transaction: Transaction, commits: WatchBatch[]): TransactionResult {
    const succeeded = transaction.compare.every((compare) => this.#holds(compare));
    const operations = succeeded ? transaction.success : (transaction.failure ?? []);
    for (const operation of operations) {
      if (operation.kind === 'put' && operation.lease !== undefined) this.#requireLease(operation.lease);
    }
    this.#write(operations, commits);
    return { succeeded, revision: this.#at.revision };
  }

  grantLease({ ttlMs }: StoreCalls['grant-lease']['in']): Lease {
    this.#at = { ...this.#at, lastLease: this.#at.lastLease + 1 };
    const id = `lease-${this.#at.lastLease}`;
    this.#insertLease.run(id, ttlMs);
    return { id, ttlMs };
  }

  revokeLease({ id }: StoreCalls['revoke-lease']['in'], commits: WatchBatch[]): { existed: boolean } {
    if (this.#findLease.get(id) === undefined) return { existed: false };
    const keys = this.#keysOfLease.all(id).map((row) => String(row['key']));
    this.#write(
      keys.map((key) => ({ kind: 'delete', key })),
      commits,
    );
    this.#deleteLease.run(id);
    this.#at = { ...this.#at };
    return { existed: true };
  }

  /** One step: forgets among the next rows those that are neither current at `revision` nor later. */
  compact({ revision, afterId }: StoreCalls['compact']['in']): { nextAfterId: number | undefined } {
    if (revision > this.#at.revision) {
      throw new MeshError('SLV-3507', `Revision ${revision} is not reached yet; the store is at ${this.#at.revision}.`);
    }
    if (afterId === 0 && revision <= this.#at.compactRevision) return { nextAfterId: undefined };
    this.#at = { ...this.#at, compactRevision: Math.max(revision, this.#at.compactRevision) };
    const rows = this.#compactable.all({ revision, after: afterId }) as unknown as { id: number; dead: number }[];
    for (const row of rows) if (row.dead === 1) this.#deleteRow.run(row.id);
    return { nextAfterId: rows.length < compactionStep ? undefined : rows.at(-1)?.id };
  }

  #holds(compare: Compare): boolean {
    const row = this.#reads.currentRow(compare.key);
    switch (compare.kind) {
      case 'absent':
        return row === undefined;
      case 'present':
        return row !== undefined;
      case 'mod-revision':
        return (row?.revision ?? 0) === compare.equals;
      case 'value':
        return row !== undefined && Buffer.compare(row.value ?? new Uint8Array(), compare.equals) === 0;
    }
  }

  #requireLease(id: string): void {
    if (this.#findLease.get(id) === undefined) throw new MeshError('SLV-3503', `The lease ${id} has expired.`);
  }

  #write(operations: readonly Operation[], commits: WatchBatch[]): void {
    const revision = this.#at.revision + 1;
    const events: WatchEvent[] = [];
    for (const operation of operations) {
      switch (operation.kind) {
        case 'put':
          events.push(this.#put(operation, revision));
          break;
        case 'delete':
          this.#delete(operation.key, revision, events);
          break;
        case 'delete-prefix':
          for (const row of this.#reads.rows(operation.prefix, revision)) this.#delete(row.key, revision, events);
          break;
      }
    }
    if (events.length === 0) return;
    this.#at = { ...this.#at, revision };
    commits.push({ revision, events });
  }

  #put(operation: Extract<Operation, { kind: 'put' }>, revision: number): WatchEvent {
    const { key, value, lease } = operation;
    const before = this.#reads.currentRow(key);
    const createRevision = before?.create_revision ?? revision;
    const version = (before?.version ?? 0) + 1;
    this.#insert.run(revision, key, 0, value, createRevision, version, lease ?? null);
    if (before?.lease != null && before.lease !== lease) this.#detach.run(before.lease, key);
    if (lease !== undefined) this.#attach.run(lease, key);
    const kv = { key, value, createRevision, modRevision: revision, version };
    return { kind: 'put', kv: lease === undefined ? kv : { ...kv, lease } };
  }

  #delete(key: string, revision: number, events: WatchEvent[]): void {
    const before = this.#reads.currentRow(key);
    if (before === undefined) return;
    this.#insert.run(revision, key, 1, null, 0, 0, null);
    if (before.lease !== null) this.#detach.run(before.lease, key);
    events.push({ kind: 'delete', key, modRevision: revision });
  }
}
