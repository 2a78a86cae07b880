import type {
  KeyValue,
  Lease,
  RangeOptions,
  RangeResult,
  Store,
  StoreStatus,
  Transaction,
  TransactionResult,
  WatchBatch,
} from './contract.ts';

/** A store over another one, which is its opener's to close: every write goes through `txn`, all else is that of the other. */
export abstract class StoreOver implements Store {
  protected readonly inner: Store;

  constructor(inner: Store) {
    this.inner = inner;
  }

  abstract txn(transaction: Transaction): Promise<TransactionResult>;

  async put(key: string, value: Uint8Array, options: { lease?: string } = {}): Promise<number> {
    const { succeeded, revision } = await this.txn({ compare: [], success: [{ kind: 'put', key, value, ...options }] });
    if (!succeeded) throw new Error('a put without a condition was not done');
    return revision;
  }

  async delete(key: string): Promise<boolean> {
    return (await this.txn({ compare: [{ kind: 'present', key }], success: [{ kind: 'delete', key }] })).succeeded;
  }

  get(key: string, options?: { revision?: number }): Promise<KeyValue | undefined> {
    return this.inner.get(key, options);
  }

  range(prefix: string, options?: RangeOptions): Promise<RangeResult> {
    return this.inner.range(prefix, options);
  }

  watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return this.inner.watch(prefix, fromRevision, signal);
  }

  grantLease(ttlMs: number): Promise<Lease> {
    return this.inner.grantLease(ttlMs);
  }

  keepAliveLease(id: string): Promise<void> {
    return this.inner.keepAliveLease(id);
  }

  revokeLease(id: string): Promise<void> {
    return this.inner.revokeLease(id);
  }

  compact(revision: number): Promise<void> {
    return this.inner.compact(revision);
  }

  status(): Promise<StoreStatus> {
    return this.inner.status();
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
