import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Store, Transaction, TransactionResult } from '#store/contract.ts';
import { StoreOver } from '#store/store-over.ts';
import type { Failure } from './service-health.ts';

/** A store that remembers whether it took the last write: a disk that is full, or takes none, is why nothing can be issued. */
export class WitnessedStore extends StoreOver {
  readonly #clock: Clock;
  #failure: Failure | undefined;

  constructor(store: Store, clock: Clock) {
    super(store);
    this.#clock = clock;
  }

  /** Undefined: the last write was taken. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  async txn(transaction: Transaction): Promise<TransactionResult> {
    try {
      const result = await this.inner.txn(transaction);
      if (result.succeeded && transaction.success.length > 0) this.#failure = undefined;
      return result;
    } catch (error) {
      if (isMeshError(error, 'SLV-3504') || isMeshError(error, 'SLV-3512'))
        this.#failure = { sinceMs: this.#failure?.sinceMs ?? this.#clock(), reason: `${error.code}: ${error.message}` };
      throw error;
    }
  }
}
