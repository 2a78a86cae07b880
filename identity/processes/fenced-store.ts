import type {
  KeyValue,
  Lease,
  RangeResult,
  Store,
  StoreStatus,
  Transaction,
  TransactionResult,
  WatchBatch,
} from '#store/contract.ts';
import type { Place } from './place.ts';

/**
 * A store that writes only while this process has its place: each transaction compares the revision by which it got it, so that of two processes that both
 * believe to be the one, one writes. Reads are those of the store.
 */
export class FencedStore implements Store {
  readonly #store: Store;
  readonly #place: Place;

  constructor(store: Store, place: Place) {
    this.#store = store;
    this.#place = place;
  }

  /** @throws MeshError SLV-2184 when the place is lost; then nothing was written */
  async txn(transaction: Transaction): Promise<TransactionResult> {
    this.#place.require();
    // The other branch would be taken by who lost his place.
    if (transaction.failure !== undefined) throw new TypeError('a fenced transaction has one branch');
    const result = await this.#store.txn({ ...transaction, compare: [this.#place.fence, ...transaction.compare] });
    if (!result.succeeded) await this.#place.confirm();
    return result;
  }

  async put(key: string, value: Uint8Array, options: { lease?: string } = {}): Promise<number> {
    const { succeeded, revision } = await this.txn({ compare: [], success: [{ kind: 'put', key, value, ...options }] });
    if (!succeeded) throw new Error('a put without a condition was not done, and the place is not lost');
    return revision;
  }

  async delete(key: string): Promise<boolean> {
    return (await this.txn({ compare: [{ kind: 'present', key }], success: [{ kind: 'delete', key }] })).succeeded;
  }

  get(key: string, options?: { revision?: number }): Promise<KeyValue | undefined> {
    return this.#store.get(key, options);
  }

  range(prefix: string, options?: { revision?: number; limit?: number }): Promise<RangeResult> {
    return this.#store.range(prefix, options);
  }

  watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return this.#store.watch(prefix, fromRevision, signal);
  }

  grantLease(ttlMs: number): Promise<Lease> {
    return this.#store.grantLease(ttlMs);
  }

  keepAliveLease(id: string): Promise<void> {
    return this.#store.keepAliveLease(id);
  }

  revokeLease(id: string): Promise<void> {
    return this.#store.revokeLease(id);
  }

  compact(revision: number): Promise<void> {
    return this.#store.compact(revision);
  }

  status(): Promise<StoreStatus> {
    return this.#store.status();
  }

  /** The store is closed by who opened it. */
  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
