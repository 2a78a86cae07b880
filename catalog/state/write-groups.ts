import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Compare, Operation, Store, TransactionResult } from '#store/contract.ts';

/** Most compares, and most operations, of one group: well below what a transaction of the store may have. */
const maxSteps = 100;
/** Most bytes of values in one group: a third of what etcd takes as one request. */
const maxGroupBytes = 512 * 1024;
/** Most writes that wait; beyond it they are refused at once instead of growing memory. */
const maxWaiting = 16_384;

/** A write that is decided: all that it was based on, and what it does. */
interface Write {
  readonly compare: readonly Compare[];
  readonly operations: readonly Operation[];
  readonly bytes: number;
  readonly outcome: PromiseWithResolvers<TransactionResult>;
}

/**
 * Group commit over any store: writes that arrive while one is under way leave together as the next transaction. So 64 writers share one round through etcd's
 * consensus and one put of the marker, and get one revision between them.
 *
 * Together go only writes that have nothing to do with one another: none writes what another writes or compares. Whether one came before or after another of
 * its group then makes no difference to anybody, and each is decided as it would have been alone. If a compare of one does not hold, or the store says that
 * nothing of the group was done, each is tried alone. That is no blind repetition. A group that breaks off has broken off for all who are in it.
 */
export class WriteGroups {
  readonly #store: Store;
  readonly #marker: Operation;
  #waiting: Write[] = [];
  #running = false;

  /** @param marker done with every transaction, once; no write names its key */
  constructor(store: Store, marker: Operation) {
    this.#store = store;
    this.#marker = marker;
  }

  /**
   * Writes, if all compares hold.
   * @throws MeshError SLV-35nn
   */
  write(compare: readonly Compare[], operations: readonly Operation[]): Promise<TransactionResult> {
    if (this.#waiting.length >= maxWaiting)
      return Promise.reject(new MeshError('SLV-3505', `${maxWaiting} writes wait for the store.`));
    const outcome = Promise.withResolvers<TransactionResult>();
    this.#waiting.push({ compare, operations, bytes: bytesOf(operations), outcome });
    if (!this.#running) {
      this.#running = true;
      // Once those that are made in the same turn have come.
      queueMicrotask(() => void this.#run());
    }
    return outcome.promise;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) await this.#commit(this.#nextGroup());
    this.#running = false;
  }

  /** The oldest write, and all behind it that may go along. */
  #nextGroup(): readonly Write[] {
    const group = new Group();
    const left: Write[] = [];
    for (const write of this.#waiting) if (!group.take(write)) left.push(write);
    this.#waiting = left;
    return group.writes;
  }

  async #commit(group: readonly Write[]): Promise<void> {
    try {
      const result = await this.#txn(group);
      if (group.length === 1 || result.succeeded) {
        for (const { outcome } of group) outcome.resolve(result);
        return;
      }
    } catch (error) {
      if (group.length === 1 || !nothingDone(error)) {
        for (const { outcome } of group) outcome.reject(error);
        return;
      }
    }
    await Promise.all(group.map((write) => this.#commit([write])));
  }

  #txn(group: readonly Write[]): Promise<TransactionResult> {
    return this.#store.txn({
      compare: group.flatMap(({ compare }) => compare),
      success: [...group.flatMap(({ operations }) => operations), this.#marker],
    });
  }
}

/** Writes that have nothing to do with one another. */
class Group {
  readonly writes: Write[] = [];
  readonly #written = new Set<string>();
  readonly #compared = new Set<string>();
  #compares = 0;
  #operations = 0;
  #bytes = 0;
  #closed = false;

  /** @returns false when the write has to wait for another group */
  take(write: Write): boolean {
    const { compare, operations, bytes } = write;
    if (this.writes.length > 0 && !this.#fits(write)) return false;
    this.writes.push(write);
    this.#compares += compare.length;
    this.#operations += operations.length;
    this.#bytes += bytes;
    for (const { key } of compare) this.#compared.add(key);
    for (const operation of operations)
      if (operation.kind === 'delete-prefix') this.#closed = true;
      else this.#written.add(operation.key);
    return true;
  }

  #fits({ compare, operations, bytes }: Write): boolean {
    return (
      !this.#closed &&
      this.#compares + compare.length <= maxSteps &&
      this.#operations + operations.length <= maxSteps &&
      this.#bytes + bytes <= maxGroupBytes &&
      compare.every(({ key }) => !this.#written.has(key)) &&
      // What a prefix takes along is not known here: such a write goes alone.
      operations.every(
        (one) => one.kind !== 'delete-prefix' && !this.#written.has(one.key) && !this.#compared.has(one.key),
      )
    );
  }
}

/** The store says of itself that it is full or takes no writes, or that a request is too large or not valid: then nothing of it was done. */
const nothingDoneCodes: ReadonlySet<string> = new Set(['SLV-3504', 'SLV-3506', 'SLV-3507', 'SLV-3512']);

function nothingDone(error: unknown): boolean {
  return isMeshError(error) && nothingDoneCodes.has(error.code);
}

function bytesOf(operations: readonly Operation[]): number {
  return operations.reduce((sum, one) => sum + (one.kind === 'put' ? one.value.byteLength : 0), 0);
}
