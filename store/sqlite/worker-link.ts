import type { Worker } from 'node:worker_threads';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Lease, WatchBatch } from '../contract.ts';
import {
  type CallKind,
  type FromWorker,
  fromPortable,
  type StoreCalls,
  type StoreRequest,
  type ToWorker,
} from './protocol.ts';

/** Most requests of one batch: bounds how long a write waits for the batch before it. */
const maxBatchRequests = 512;
/** Most bytes of values in one batch. */
const maxBatchBytes = 8 * 1024 * 1024;
/** Most calls, and bytes of values, that wait; beyond it calls are refused at once instead of growing memory. */
const maxWaitingCalls = 16_384;
const maxWaitingBytes = 64 * 1024 * 1024;

interface Waiting {
  readonly request: StoreRequest;
  readonly bytes: number;
  resolve(value: StoreCalls[CallKind]['out']): void;
  reject(error: MeshError): void;
}

type LinkState = { kind: 'open' } | { kind: 'closing' } | { kind: 'closed' } | { kind: 'failed'; error: MeshError };

/** Who is told of new revisions. */
export interface Watchers {
  /** Whether anybody would hear of them: what nobody wants is not sent between the threads. */
  readonly isWatched: boolean;
  /** @param commits all since the last call, or none where nobody watched; @param revision the newest */
  publish(commits: readonly WatchBatch[], revision: number): void;
}

/**
 * Calls to the worker. What arrives while a batch is away waits and leaves together as the next batch: that is the group of group commit.
 * When the worker dies, every call that waits or is away is rejected (SLV-3505), and so is every later one.
 */
export class WorkerLink {
  readonly #worker: Worker;
  readonly #watchers: Watchers;
  readonly #onEnd: (error: MeshError) => void;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #away: readonly Waiting[] = [];
  #scheduled = false;
  #state: LinkState = { kind: 'open' };
  readonly #exited: Promise<void>;

  /**
   * @param watchers are told of new revisions, before the calls that made them are resolved
   * @param onEnd is told once why no more will come: closed (SLV-3501) or dead (SLV-3505)
   */
  constructor(worker: Worker, watchers: Watchers, onEnd: (error: MeshError) => void) {
    this.#worker = worker;
    this.#watchers = watchers;
    this.#onEnd = onEnd;
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('error', (cause) =>
      this.#die(`The store's worker failed: ${cause instanceof Error ? cause.message : cause}`, cause),
    );
    worker.on('messageerror', (cause) =>
      this.#die(`The store's worker sent an unreadable message: ${cause.message}`, cause),
    );
    this.#exited = new Promise((resolve) => {
      worker.on('exit', (code) => {
        if (this.#state.kind === 'closing') {
          this.#state = { kind: 'closed' };
          this.#onEnd(closedError());
        } else this.#die(`The store's worker ended with code ${code}.`);
        resolve();
      });
    });
  }

  /** Asks the worker. Rejects with the MeshError of the request, or SLV-3501 (closed), SLV-3505 (dead or overloaded). */
  call<K extends CallKind>(kind: K, input: StoreCalls[K]['in']): Promise<StoreCalls[K]['out']> {
    return new Promise<StoreCalls[K]['out']>((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== undefined) {
        reject(refusal);
        return;
      }
      const request = { kind, input } as StoreRequest;
      const bytes = requestBytes(request);
      this.#queuedBytes += bytes;
      // The worker answers a request of kind K with an outcome of kind K: the protocol's one promise that types can't show.
      this.#queue.push({ request, bytes, resolve: resolve as Waiting['resolve'], reject });
      this.#schedule();
    });
  }

  /** Throws SLV-3501 or SLV-3505 when no call would be taken. */
  requireOpen(): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
  }

  /** Lets waiting calls finish, then ends the worker. */
  async close(): Promise<void> {
    if (this.#state.kind === 'open') {
      this.#state = { kind: 'closing' };
      if (this.#idle()) this.#post({ kind: 'close' });
    }
    await this.#exited;
  }

  #refusal(): MeshError | undefined {
    switch (this.#state.kind) {
      case 'closing':
      case 'closed':
        return closedError();
      case 'failed':
        return this.#state.error;
      case 'open':
        if (this.#queue.length < maxWaitingCalls && this.#queuedBytes < maxWaitingBytes) return undefined;
        return new MeshError('SLV-3505', `The store is overloaded: ${this.#queue.length} calls wait for the disk.`);
    }
  }

  /** Once per turn of the event loop's microtasks, so that calls made together go together. */
  #schedule(): void {
    if (this.#scheduled || this.#away.length > 0) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#sendNext();
    });
  }

  #sendNext(): void {
    if (this.#away.length > 0 || this.#queue.length === 0) return;
    let count = 0;
    let bytes = 0;
    for (const waiting of this.#queue) {
      if (count > 0 && (count >= maxBatchRequests || bytes + waiting.bytes > maxBatchBytes)) break;
      bytes += waiting.bytes;
      count += 1;
    }
    this.#away = this.#queue.splice(0, count);
    this.#queuedBytes -= bytes;
    const requests = this.#away.map((waiting) => waiting.request);
    this.#post({ kind: 'batch', requests, watched: this.#watchers.isWatched });
  }

  #receive(message: FromWorker): void {
    if (message.kind !== 'done') return; // Opening is start-worker.ts's business.
    const answered = this.#away;
    this.#away = [];
    // The next group is on its way to the disk while this one's callers are told.
    this.#sendNext();
    this.#watchers.publish(message.commits, message.revision);
    for (const [position, waiting] of answered.entries()) {
      const outcome = message.outcomes[position];
      if (outcome === undefined) waiting.reject(new MeshError('SLV-3505', "The store's worker lost a request."));
      else if ('error' in outcome) waiting.reject(fromPortable(outcome.error));
      else waiting.resolve(outcome.value);
    }
    if (this.#state.kind === 'closing' && this.#idle()) this.#post({ kind: 'close' });
  }

  #idle(): boolean {
    return this.#away.length === 0 && this.#queue.length === 0;
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #die(message: string, cause?: unknown): void {
    if (this.#state.kind === 'failed' || this.#state.kind === 'closed') return;
    const error = new MeshError('SLV-3505', message, { cause });
    this.#state = { kind: 'failed', error };
    const pending = [...this.#away, ...this.#queue];
    this.#away = [];
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const waiting of pending) waiting.reject(error);
    this.#onEnd(error);
  }
}

/** The leases and revision that the worker found. */
export interface Opened {
  readonly revision: number;
  readonly leases: readonly Lease[];
}

/** Waits for a worker's first word. Rejects with what it could not open, or SLV-3505 when it died. */
export function awaitOpened(worker: Worker): Promise<Opened> {
  return new Promise((resolve, reject) => {
    worker.once('message', (message: FromWorker) => {
      if (message.kind === 'opened') resolve({ revision: message.revision, leases: message.leases });
      else if (message.kind === 'open-failed') reject(fromPortable(message.error));
      else reject(new MeshError('SLV-3505', "The store's worker spoke out of turn."));
    });
    worker.once('error', (cause) =>
      reject(new MeshError('SLV-3505', `The store's worker failed: ${cause}`, { cause })),
    );
    worker.once('exit', (code) => reject(new MeshError('SLV-3505', `The store's worker ended with code ${code}.`)));
  });
}

function closedError(): MeshError {
  return new MeshError('SLV-3501', 'The store is closed.');
}

/** The bytes of values that a request carries; keys are small. */
function requestBytes(request: StoreRequest): number {
  if (request.kind !== 'txn') return 0;
  let bytes = 0;
  for (const compare of request.input.compare) if (compare.kind === 'value') bytes += compare.equals.byteLength;
  for (const branch of [request.input.success, request.input.failure ?? []]) {
    for (const operation of branch) if (operation.kind === 'put') bytes += operation.value.byteLength;
  }
  return bytes;
}
