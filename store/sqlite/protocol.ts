import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type {
  KeyValue,
  Lease,
  RangeOptions,
  RangeResult,
  StoreStatus,
  Transaction,
  TransactionResult,
  WatchBatch,
} from '../contract.ts';

/**
 * What the main thread asks of the worker that owns the database, by kind: input and output. Requests travel in batches, one batch at a
 * time; the writes of a batch are committed together, then its reads are done, then one reply carries every outcome.
 */
export interface StoreCalls {
  txn: { in: Transaction; out: TransactionResult };
  'grant-lease': { in: { readonly ttlMs: number }; out: Lease };
  /** Ends the lease and deletes its keys in one revision. */
  'revoke-lease': { in: { readonly id: string }; out: { readonly existed: boolean } };
  /** One step of a compaction: looks at the next rows after `afterId`. */
  compact: {
    in: { readonly revision: number; readonly afterId: number };
    out: { readonly nextAfterId: number | undefined };
  };
  get: { in: { readonly key: string; readonly revision: number | undefined }; out: KeyValue | undefined };
  range: {
    in: { readonly prefix: string } & RangeOptions;
    out: RangeResult;
  };
  /** A page of the past: revisions of `fromRevision` to at most `toRevision` (both inclusive). */
  history: {
    in: { readonly prefix: string; readonly fromRevision: number; readonly toRevision: number };
    out: HistoryPage;
  };
  status: { in: Record<string, never>; out: StoreStatus };
}

/** Batches of the past, and the revision from which to ask on. */
export interface HistoryPage {
  readonly batches: readonly WatchBatch[];
  readonly nextRevision: number;
}

export type CallKind = keyof StoreCalls;
/** One request of a batch. */
export type StoreRequest = { [K in CallKind]: { readonly kind: K; readonly input: StoreCalls[K]['in'] } }[CallKind];
export type WriteKind = 'txn' | 'grant-lease' | 'revoke-lease' | 'compact';
export type WriteRequest = Extract<StoreRequest, { kind: WriteKind }>;
export type ReadRequest = Exclude<StoreRequest, WriteRequest>;

/** A MeshError on its way between threads (an Error's own class does not survive structured cloning). */
export interface PortableError {
  readonly code: ErrorCode;
  readonly message: string;
}

/** How one request came out. */
export type Outcome = { readonly value: StoreCalls[CallKind]['out'] } | { readonly error: PortableError };

/** From the main thread to the worker. */
export type ToWorker =
  /** `watched`: whether anybody wants to be told the new revisions. */
  | { readonly kind: 'batch'; readonly requests: readonly StoreRequest[]; readonly watched: boolean }
  | { readonly kind: 'close' };

/** From the worker to the main thread. */
export type FromWorker =
  | { readonly kind: 'opened'; readonly revision: number; readonly leases: readonly Lease[] }
  | { readonly kind: 'open-failed'; readonly error: PortableError }
  /**
   * `outcomes` in the order of the requests; `commits` are the new revisions, each whole, in order and without a hole, or none where nobody watched;
   * `revision` is the newest.
   */
  | {
      readonly kind: 'done';
      readonly outcomes: readonly Outcome[];
      readonly commits: readonly WatchBatch[];
      readonly revision: number;
    };

/** What the worker is started with. `path` undefined: a database in memory. */
export interface WorkerStart {
  readonly path: string | undefined;
  readonly maxSizeBytes: number;
  readonly firstRevision: number | undefined;
}

/** True for the requests that change the store. */
export function isWrite(request: StoreRequest): request is WriteRequest {
  switch (request.kind) {
    case 'txn':
    case 'grant-lease':
    case 'revoke-lease':
    case 'compact':
      return true;
    default:
      return false;
  }
}

/** For the journey between threads. */
export function toPortable(error: MeshError): PortableError {
  return { code: error.code, message: error.message };
}

/** At the other end. */
export function fromPortable(error: PortableError): MeshError {
  return new MeshError(error.code, error.message);
}
