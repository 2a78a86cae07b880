import type { Store, Transaction, TransactionResult } from '#store/contract.ts';
import { StoreOver } from '#store/store-over.ts';
import type { Place } from './place.ts';

/**
 * A store that writes only while this process has its place: each transaction compares the revision by which it got it, so that of two processes that both
 * believe to be the one, one writes. Reads are those of the store.
 */
export class FencedStore extends StoreOver {
  readonly #place: Place;

  constructor(store: Store, place: Place) {
    super(store);
    this.#place = place;
  }

  /** @throws MeshError SLV-2184 when the place is lost; then nothing was written */
  async txn(transaction: Transaction): Promise<TransactionResult> {
    this.#place.require();
    // The other branch would be taken by who lost his place.
    if (transaction.failure !== undefined) throw new TypeError('a fenced transaction has one branch');
    const result = await this.inner.txn({ ...transaction, compare: [this.#place.fence, ...transaction.compare] });
    if (!result.succeeded) await this.#place.confirm();
    return result;
  }
}
