/**
 * The one contract of the store, etcd v3's in shape: keys and values, one revision per committed transaction, compare-and-swap, range reads at a
 * revision, watches that neither skip nor repeat one, leases. Two engines implement it, sqlite/ and etcd/; conformance.ts runs against each.
 *
 * Keys are UTF-8 strings (at most 1,024 bytes), values bytes (at most 1 MiB). Revisions are integers from 1, safe as JS numbers.
 * Every promise rejects with a MeshError SLV-35nn: store closed, compacted, full, unavailable. An acknowledged write is durable (synced).
 * No engine ever repeats a transaction that may have been done.
 */

/** One key as stored. */
export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  /** Writes since the key was made; 1 for a fresh one. */
  readonly version: number;
  readonly lease?: string;
}

/** A condition of a transaction. `absent` is etcd's "version = 0". */
export type Compare =
  | { readonly kind: 'absent'; readonly key: string }
  | { readonly kind: 'present'; readonly key: string }
  | { readonly kind: 'mod-revision'; readonly key: string; readonly equals: number }
  | { readonly kind: 'value'; readonly key: string; readonly equals: Uint8Array };

/** A step of a transaction. */
export type Operation =
  | { readonly kind: 'put'; readonly key: string; readonly value: Uint8Array; readonly lease?: string }
  | { readonly kind: 'delete'; readonly key: string }
  | { readonly kind: 'delete-prefix'; readonly prefix: string };

/** All `compare` true: `success` is done, else `failure`; atomically, in one revision. A key is written at most once per branch (etcd). */
export interface Transaction {
  readonly compare: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure?: readonly Operation[];
}

export interface TransactionResult {
  readonly succeeded: boolean;
  /** The store's revision after it; unchanged when nothing was written. */
  readonly revision: number;
}

/** Which part of a range is asked. */
export interface RangeOptions {
  /** As of this revision; absent: now. */
  readonly revision?: number;
  /** No more than so many keys. */
  readonly limit?: number;
  /** Only keys above this one, in the order of the range: the last of the page before (pages.ts). */
  readonly after?: string;
}

export interface RangeResult {
  /** Ordered by key, byte-wise. */
  readonly kvs: readonly KeyValue[];
  /** The store's revision that the read saw. */
  readonly revision: number;
}

export type WatchEvent =
  | { readonly kind: 'put'; readonly kv: KeyValue }
  | { readonly kind: 'delete'; readonly key: string; readonly modRevision: number };

/** All events of one revision that touch the watched prefix, in the order of the transaction. */
export interface WatchBatch {
  readonly revision: number;
  readonly events: readonly WatchEvent[];
}

export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
}

export interface StoreStatus {
  readonly engine: 'sqlite' | 'etcd';
  readonly revision: number;
  readonly compactRevision: number;
  readonly sizeBytes: number;
}

export interface Store extends AsyncDisposable {
  /** @returns the key's value now, or as of `revision`. Linearizable. */
  get(key: string, options?: { revision?: number }): Promise<KeyValue | undefined>;
  /** Every key with the prefix, now or as of `revision`. */
  range(prefix: string, options?: RangeOptions): Promise<RangeResult>;
  txn(transaction: Transaction): Promise<TransactionResult>;
  /** A put without condition. @returns the revision */
  put(key: string, value: Uint8Array, options?: { lease?: string }): Promise<number>;
  /** @returns true when the key was there */
  delete(key: string): Promise<boolean>;
  /**
   * Everything with the prefix from `fromRevision` (inclusive) on, as it is committed. Ends when `signal` aborts.
   * Throws SLV-3502 (compacted) when `fromRevision` is no longer held; the caller then reads a range and watches from its revision + 1. Throws SLV-3505
   * when the store can't be reached; the caller watches again behind the last revision that it saw.
   */
  watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncIterable<WatchBatch>;
  grantLease(ttlMs: number): Promise<Lease>;
  /** Throws SLV-3503 when the lease has expired. */
  keepAliveLease(id: string): Promise<void>;
  /** Ends a lease and deletes its keys. */
  revokeLease(id: string): Promise<void>;
  /** Forgets history before `revision`; current values stay. */
  compact(revision: number): Promise<void>;
  status(): Promise<StoreStatus>;
  close(): Promise<void>;
}
