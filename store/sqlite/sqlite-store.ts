import { Worker } from 'node:worker_threads';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import type { KeyValue, Lease, Operation, RangeOptions, Store, Transaction, WatchBatch } from '../contract.ts';
import { checkKey, checkLeaseTtl, checkLimit, checkPrefix, checkRevision, checkTransaction } from '../limits.ts';
import { LeaseDeadlines } from './lease-deadlines.ts';
import type { WorkerStart } from './protocol.ts';
import { WatchFeed } from './watch-feed.ts';
import { awaitOpened, WorkerLink } from './worker-link.ts';

/** etcd's recommended ceiling, and more than a mesh should ever hold. */
const defaultMaxSizeBytes = 2 * 1024 * 1024 * 1024;

const passingTime: Clock = () => performance.now();

export interface SqliteStoreOptions {
  /** The database file; its folder is made (0700) when missing. Undefined: in memory, gone at the end. */
  readonly path: string | undefined;
  /** Decides when leases expire. Default, and right for a process: time that only passes, whatever its wall clock is set to. */
  readonly clock?: Clock;
  readonly log: Logger;
  /** A write that would grow the file beyond it is refused as on a full disk (SLV-3504). 2 GiB by default. */
  readonly maxSizeBytes?: number;
  /** For a store that is made of a snapshot: its revisions are above this, and its history begins there. */
  readonly firstRevision?: number;
}

/**
 * The embedded engine: SQLite in a worker thread.
 *
 * @throws SLV-3508 the file is open in another process; SLV-3509 it is damaged or newer, or this Node's SQLite is too old;
 *   SLV-1005 the file or its folder can't be made
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const { path, maxSizeBytes = defaultMaxSizeBytes, firstRevision } = options;
  const workerData: WorkerStart = { path, maxSizeBytes, firstRevision };
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData,
    name: 'selvedge-store',
    // Not the flags of whoever started this process (--eval's would stop the worker).
    execArgv: [],
  });
  return storeOver(worker, options);
}

/** The store's main-thread half over any worker that speaks protocol.ts. For tests of a worker that dies; use openSqliteStore. */
export async function storeOver(worker: Worker, options: { clock?: Clock; log: Logger }): Promise<Store> {
  const { revision, leases } = await awaitOpened(worker);
  const feed: WatchFeed = new WatchFeed(revision, (prefix, fromRevision, toRevision) =>
    link.call('history', { prefix, fromRevision, toRevision }),
  );
  const link: WorkerLink = new WorkerLink(worker, feed, (error) => {
    deadlines.stop();
    feed.end(error);
  });
  const deadlines = new LeaseDeadlines(options.clock ?? passingTime, options.log, (id) =>
    link.call('revoke-lease', { id }),
  );
  for (const lease of leases) deadlines.start(lease);
  return new SqliteStore(link, feed, deadlines);
}

class SqliteStore implements Store {
  readonly #link: WorkerLink;
  readonly #feed: WatchFeed;
  readonly #deadlines: LeaseDeadlines;

  constructor(link: WorkerLink, feed: WatchFeed, deadlines: LeaseDeadlines) {
    this.#link = link;
    this.#feed = feed;
    this.#deadlines = deadlines;
  }

  async get(key: string, options: { revision?: number } = {}): Promise<KeyValue | undefined> {
    checkKey(key);
    if (options.revision !== undefined) checkRevision(options.revision);
    return this.#link.call('get', { key, revision: options.revision });
  }

  async range(prefix: string, options: RangeOptions = {}) {
    checkPrefix(prefix);
    if (options.revision !== undefined) checkRevision(options.revision);
    if (options.limit !== undefined) checkLimit(options.limit);
    if (options.after !== undefined) checkKey(options.after);
    return this.#link.call('range', { prefix, ...options });
  }

  async txn(transaction: Transaction) {
    checkTransaction(transaction);
    return this.#link.call('txn', ownCopy(transaction));
  }

  async put(key: string, value: Uint8Array, options: { lease?: string } = {}): Promise<number> {
    const put: Operation = { kind: 'put', key, value, ...options };
    return (await this.txn({ compare: [], success: [put] })).revision;
  }

  async delete(key: string): Promise<boolean> {
    return (await this.txn({ compare: [{ kind: 'present', key }], success: [{ kind: 'delete', key }] })).succeeded;
  }

  async *watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncGenerator<WatchBatch, void, undefined> {
    checkPrefix(prefix);
    checkRevision(fromRevision);
    yield* this.#feed.watch(prefix, fromRevision, signal);
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    checkLeaseTtl(ttlMs);
    const lease = await this.#link.call('grant-lease', { ttlMs });
    this.#deadlines.start(lease);
    return lease;
  }

  async keepAliveLease(id: string): Promise<void> {
    this.#link.requireOpen();
    this.#deadlines.renew(id);
  }

  async revokeLease(id: string): Promise<void> {
    await this.#link.call('revoke-lease', { id });
    this.#deadlines.forget(id);
  }

  async compact(revision: number): Promise<void> {
    checkRevision(revision);
    // In steps, so that writes go on between them. The first one moves the boundary; one that is cut off is finished by the next compaction.
    for (let afterId: number | undefined = 0; afterId !== undefined; ) {
      const step: { nextAfterId: number | undefined } = await this.#link.call('compact', { revision, afterId });
      this.#feed.forgetBefore(revision);
      afterId = step.nextAfterId;
    }
  }

  status() {
    return this.#link.call('status', {});
  }

  async close(): Promise<void> {
    this.#deadlines.stop();
    await this.#link.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * Values are copied when the call is made: the caller may reuse its buffer, and a view on a pooled Buffer would take the whole pool
 * along to the worker.
 */
function ownCopy(transaction: Transaction): Transaction {
  const operations = (branch: readonly Operation[]) =>
    branch.map((operation) =>
      operation.kind === 'put' ? { ...operation, value: new Uint8Array(operation.value) } : operation,
    );
  return {
    compare: transaction.compare.map((compare) =>
      compare.kind === 'value' ? { ...compare, equals: new Uint8Array(compare.equals) } : compare,
    ),
    success: operations(transaction.success),
    ...(transaction.failure === undefined ? {} : { failure: operations(transaction.failure) }),
  };
}
