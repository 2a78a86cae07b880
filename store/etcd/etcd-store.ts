import type { ChannelCredentials } from '@grpc/grpc-js';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Logger } from '#runtime/logging.ts';
import type {
  KeyValue,
  Lease,
  Operation,
  RangeOptions,
  RangeResult,
  Store,
  StoreStatus,
  Transaction,
  TransactionResult,
  WatchBatch,
} from '../contract.ts';
import { checkKey, checkLeaseTtl, checkLimit, checkPrefix, checkRevision, checkTransaction } from '../limits.ts';
import { fillStore, type Snapshot } from '../snapshot.ts';
import {
  etcdCalls,
  leaseKeepAlivePath,
  leaseKeepAliveRequest,
  leaseKeepAliveResponse,
  watchPath,
  watchRequest,
  watchResponse,
} from './etcd-api.ts';
import { EtcdMembers } from './etcd-members.ts';
import { beginOrigin, finishOrigin, loadOrigin } from './etcd-origin.ts';
import { watchEtcd } from './etcd-watch.ts';
import { KeySpace } from './key-space.ts';

export interface EtcdStoreOptions {
  /** `host:port` of members; one will do, all are better. */
  readonly addresses: readonly string[];
  readonly credentials: ChannelCredentials;
  /** What the keys of this store begin with, without a slash at its end: `selvedge/catalog`. Several stores share a cluster by it. */
  readonly prefix: string;
  readonly log: Logger;
}

/** A lease ID of etcd's, as text. */
const leaseId = /^[1-9]\d{0,18}$/;

/**
 * The engine on an etcd cluster, 3.4 or newer.
 *
 * @throws MeshError SLV-3505 when no member answers, SLV-3509 when etcd refuses us
 */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const members = new EtcdMembers(options.addresses, options.credentials);
  try {
    const { offset, since } = await loadOrigin(members, options.prefix);
    return new EtcdStore(members, keySpace(options.prefix, offset), options.log, since);
  } catch (error) {
    members.close();
    throw error;
  }
}

/**
 * Makes a store of a snapshot. Its revisions go on above `firstRevision`, so that no index that somebody holds goes back.
 *
 * @throws MeshError SLV-3511 when there is one under the prefix already; else as openEtcdStore. When it is cut off, the store is not opened later: SLV-3509
 */
export async function createEtcdStore(
  options: EtcdStoreOptions,
  snapshot: Snapshot,
  firstRevision: number,
): Promise<void> {
  const members = new EtcdMembers(options.addresses, options.credentials);
  const offset = await beginOrigin(members, options.prefix, firstRevision);
  await using store = new EtcdStore(members, keySpace(options.prefix, offset), options.log, 0);
  await fillStore(store, snapshot);
  const { revision } = await store.status();
  await finishOrigin(members, options.prefix, { offset, since: revision });
}

function keySpace(prefix: string, offset: number): KeySpace {
  return new KeySpace(`${prefix}/data/`, offset);
}

class EtcdStore implements Store {
  readonly #members: EtcdMembers;
  readonly #keys: KeySpace;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();
  /**
   * History before this revision is gone as far as the contract goes. etcd keeps one revision more (see `compact`), and reads of it are refused here so
   * that both engines agree. Of compactions by others nothing is known here: then etcd's own answer counts, and that one revision is readable.
   */
  #compacted: number;

  constructor(members: EtcdMembers, keys: KeySpace, log: Logger, compacted: number) {
    this.#compacted = compacted;
    this.#members = members;
    this.#keys = keys;
    this.#log = log;
  }

  async get(key: string, options: { revision?: number } = {}): Promise<KeyValue | undefined> {
    checkKey(key);
    const { kvs } = await this.#open(() => this.#read({ key: this.#keys.key(key) }, options));
    return kvs[0];
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<RangeResult> {
    checkPrefix(prefix);
    if (options.limit !== undefined) checkLimit(options.limit);
    if (options.after !== undefined) checkKey(options.after);
    return this.#open(() => this.#read(this.#keys.prefix(prefix, options.after), options));
  }

  async txn(transaction: Transaction): Promise<TransactionResult> {
    checkTransaction(transaction);
    for (const operation of [...transaction.success, ...(transaction.failure ?? [])])
      if (operation.kind === 'put' && operation.lease !== undefined) checkLease(operation.lease);
    const request = this.#keys.transaction(transaction);
    return this.#open(async () => {
      const { succeeded, header } = await this.#members.call(etcdCalls.txn, request);
      return { succeeded, revision: this.#keys.revision(header?.revision ?? 0n) };
    });
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
    this.#requireOpen();
    if (fromRevision < this.#compacted) throw compacted(this.#compacted);
    yield* watchEtcd({
      members: this.#members,
      keys: this.#keys,
      prefix,
      fromRevision,
      signal: AbortSignal.any([signal, this.#closing.signal]),
      log: this.#log,
    });
    this.#requireOpen();
  }

  async grantLease(ttlMs: number): Promise<Lease> {
    checkLeaseTtl(ttlMs);
    // etcd counts in seconds, and gives no less than one and a half of its election timeouts.
    const request = { ttlSeconds: BigInt(Math.ceil(ttlMs / 1_000)) };
    const { id, ttlSeconds } = await this.#open(() => this.#members.call(etcdCalls.leaseGrant, request));
    return { id: String(id), ttlMs: Number(ttlSeconds) * 1_000 };
  }

  async keepAliveLease(id: string): Promise<void> {
    this.#requireOpen();
    checkLease(id);
    await this.#open(async () => {
      const { call, fail } = await this.#members.stream(
        leaseKeepAlivePath,
        leaseKeepAliveRequest,
        leaseKeepAliveResponse,
      );
      const timer = setTimeout(() => call.cancel(), keepAliveTimeoutMs);
      try {
        call.end({ id: BigInt(id) });
        for await (const { ttlSeconds } of call as AsyncIterable<{ readonly ttlSeconds: bigint }>) {
          if (ttlSeconds <= 0n) throw new MeshError('SLV-3503', 'The lease has expired or was never granted.');
          return;
        }
        throw new MeshError('SLV-3505', 'etcd did not answer a keep-alive.');
      } catch (error) {
        throw isMeshError(error) ? error : fail(error).error;
      } finally {
        clearTimeout(timer);
        call.on('error', () => undefined);
        call.cancel();
      }
    });
  }

  async revokeLease(id: string): Promise<void> {
    this.#requireOpen();
    if (!leaseId.test(id)) return;
    try {
      await this.#open(() => this.#members.call(etcdCalls.leaseRevoke, { id: BigInt(id) }));
    } catch (error) {
      if (!isMeshError(error, 'SLV-3503')) throw error;
    }
  }

  /**
   * etcd is told the revision before: of the one that it is told it forgets the deletes, and a watch from there would miss them without a word, where the
   * contract holds that revision whole.
   */
  async compact(revision: number): Promise<void> {
    checkRevision(revision);
    const { revision: now } = await this.status();
    if (revision > now) throw new MeshError('SLV-3507', `Invalid store request: ${revision} is in the future.`);
    const before = this.#keys.etcdRevision(revision) - 1n;
    if (before > 0n)
      try {
        await this.#open(() => this.#members.call(etcdCalls.compact, { revision: before }));
      } catch (error) {
        if (!isMeshError(error, 'SLV-3502')) throw error; // done before, by whomever
      }
    this.#compacted = Math.max(this.#compacted, revision);
  }

  async status(): Promise<StoreStatus> {
    return this.#open(async () => {
      const [{ revision }, { dbSizeBytes }, compactRevision] = await Promise.all([
        this.#read({ key: this.#keys.key('\0'), countOnly: true }, {}),
        this.#members.call(etcdCalls.status, {}),
        this.#compactRevision(),
      ]);
      return { engine: 'etcd', revision, compactRevision, sizeBytes: Number(dbSizeBytes) };
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#underWay);
    this.#members.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #read(
    what: { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array; readonly countOnly?: boolean },
    { revision, limit }: RangeOptions,
  ): Promise<RangeResult> {
    if (revision !== undefined) {
      checkRevision(revision);
      if (revision < this.#compacted) throw compacted(this.#compacted);
    }
    const { kvs, header } = await this.#members.call(etcdCalls.range, {
      ...what,
      ...(revision === undefined ? {} : { revision: this.#keys.etcdRevision(revision) }),
      ...(limit === undefined ? {} : { limit: BigInt(limit) }),
    });
    return { kvs: kvs.map((kv) => this.#keys.keyValue(kv)), revision: this.#keys.revision(header?.revision ?? 0n) };
  }

  /** etcd tells it nowhere but to a watch that asks for what is gone. */
  async #compactRevision(): Promise<number> {
    const first = this.#keys.etcdRevision(1);
    try {
      await this.#members.call(etcdCalls.range, { key: this.#keys.key('\0'), revision: first, countOnly: true });
      return this.#compacted;
    } catch (error) {
      if (!isMeshError(error, 'SLV-3502')) throw error;
    }
    const { call, fail } = await this.#members.stream(watchPath, watchRequest, watchResponse);
    try {
      call.write({ create: { key: this.#keys.key('\0'), startRevision: first } });
      for await (const response of call as AsyncIterable<ReturnType<typeof watchResponse.decode>>)
        if (response.compactRevision > 0n)
          return Math.max(this.#compacted, this.#keys.revision(response.compactRevision) + 1);
      throw new MeshError('SLV-3505', 'etcd ended a watch without a word.');
    } catch (error) {
      throw isMeshError(error) ? error : fail(error).error;
    } finally {
      call.on('error', () => undefined);
      call.cancel();
    }
  }

  /** Work that `close` waits for. @throws MeshError SLV-3501 after it */
  async #open<T>(work: () => Promise<T>): Promise<T> {
    this.#requireOpen();
    const working = work();
    this.#underWay.add(working);
    try {
      return await working;
    } finally {
      this.#underWay.delete(working);
    }
  }

  #requireOpen(): void {
    if (this.#closing.signal.aborted) throw new MeshError('SLV-3501', 'The store is closed.');
  }
}

const keepAliveTimeoutMs = 5_000;

function checkLease(id: string): void {
  if (!leaseId.test(id)) throw new MeshError('SLV-3503', 'The lease has expired or was never granted.');
}

function compacted(revision: number): MeshError {
  return new MeshError('SLV-3502', `The history before revision ${revision} is compacted.`);
}
