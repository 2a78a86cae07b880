import type { DatabaseSync } from 'node:sqlite';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Lease, WatchBatch } from '../contract.ts';
import {
  isWrite,
  type Outcome,
  type ReadRequest,
  type StoreRequest,
  toPortable,
  type WriteRequest,
} from './protocol.ts';
import { Reads } from './reads.ts';
import { sqliteCode } from './sqlite-error.ts';
import { Writes } from './writes.ts';

/** What became of a batch: an outcome per request, in order, and the revisions that were committed. */
export interface BatchResult {
  readonly outcomes: Outcome[];
  readonly commits: WatchBatch[];
}

/**
 * The store's state machine on one database, synchronous: runs in the worker. Group commit: the writes of a batch share one transaction of
 * SQLite and so one sync, while each keeps its own revision, its own compares against what the ones before it wrote, and its own outcome.
 */
export class Engine {
  readonly #database: DatabaseSync;
  readonly #reads: Reads;
  readonly #writes: Writes;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#reads = new Reads(database);
    this.#writes = new Writes(database, this.#reads);
  }

  get revision(): number {
    return this.#writes.position.revision;
  }

  leases(): Lease[] {
    return this.#writes.leases();
  }

  /**
   * Writes first, then reads: all of a batch are concurrent, so any order is linearizable, and a read never reports what is not yet durable.
   * @throws what SQLite threw, when it is not a lack of space: the state of the disk is then unknown and the engine must not be used again
   */
  run(requests: readonly StoreRequest[]): BatchResult {
    const writes = requests.filter(isWrite);
    const committed = writes.length > 0 ? this.#commit(writes) : { outcomes: [], commits: [] };
    const writeOutcomes = committed.outcomes.values();
    const outcomes = requests.map((request): Outcome => {
      if (!isWrite(request)) return settle(() => this.#read(request));
      const next = writeOutcomes.next();
      if (next.done) throw new Error('a write without an outcome');
      return next.value;
    });
    return { outcomes, commits: committed.commits };
  }

  /**
   * A batch that meets a full disk is rolled back and its requests tried one by one, so that one large value does not refuse the small ones
   * beside it. It is no blind repetition: what SQLite rolled back for lack of space has not happened. Nor has what the disk took no write of: the log's frames
   * count from the one that commits, and that was not written. A sync that failed is another matter: what is on the disk is then unknown.
   */
  #commit(writes: readonly WriteRequest[]): BatchResult {
    try {
      return this.#commitTogether(writes);
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      this.#writes.rolledBack();
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      if (writes.length === 1) return { outcomes: [{ error: toPortable(refusal) }], commits: [] };
    }
    const singles = writes.map((write) => this.#commit([write]));
    return { outcomes: singles.flatMap((s) => s.outcomes), commits: singles.flatMap((s) => s.commits) };
  }

  #commitTogether(writes: readonly WriteRequest[]): BatchResult {
    const commits: WatchBatch[] = [];
    this.#database.exec('BEGIN');
    const outcomes = writes.map((write) => settle(() => this.#write(write, commits)));
    if (this.#writes.save()) {
      this.#database.exec('COMMIT');
      this.#writes.committed();
    } else {
      this.#database.exec('ROLLBACK');
    }
    return { outcomes, commits };
  }

  #write(request: WriteRequest, commits: WatchBatch[]) {
    switch (request.kind) {
      case 'txn':
        return this.#writes.txn(request.input, commits);
      case 'grant-lease':
        return this.#writes.grantLease(request.input);
      case 'revoke-lease':
        return this.#writes.revokeLease(request.input, commits);
      case 'compact':
        return this.#writes.compact(request.input);
    }
  }

  #read(request: ReadRequest) {
    switch (request.kind) {
      case 'get':
        return this.#reads.get(request.input, this.#writes.position);
      case 'range':
        return this.#reads.range(request.input, this.#writes.position);
      case 'history':
        return this.#reads.history(request.input, this.#writes.position);
      case 'status':
        return this.#reads.status(this.#writes.position);
    }
  }
}

/** @returns what a write is told that the disk had no room for, or did not take; undefined: the engine must not be used again */
function refusalOf(error: unknown): MeshError | undefined {
  switch (sqliteCode(error)) {
    case 'full':
      return new MeshError('SLV-3504', 'The store has no space left for this write.');
    case 'unwritable':
      return new MeshError('SLV-3512', 'The disk of the store takes no writes.');
    default:
      return undefined;
  }
}

/** A refusal belongs to its request; anything else to the whole batch. */
function settle(work: () => Extract<Outcome, { value: unknown }>['value']): Outcome {
  try {
    return { value: work() };
  } catch (error) {
    if (isMeshError(error)) return { error: toPortable(error) };
    throw error;
  }
}
