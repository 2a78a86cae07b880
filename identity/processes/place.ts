import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Compare, Lease, Store } from '#store/contract.ts';

/** How long a place is kept for a process that says nothing: so long nobody issues in `embedded` after a crash. */
export const placeTtlMs = 5_000;
const keepEveryMs = 1_250;
const retryMs = 300;

/**
 * The place of this process among those that share a store: a key that lives by a lease. Whoever has it writes only while it is there, which every
 * transaction compares (fenced-store.ts): a process that slept past its lease finds its fence down, whatever it believes.
 */
export class Place {
  readonly #store: Store;
  readonly #lease: Lease;
  readonly #context: Pick<ProcessContext, 'log'>;
  readonly #key: string;
  readonly #lost = new AbortController();
  readonly #closing = new AbortController();
  readonly #keeping: Promise<void>;
  /** The revision that made it: no other process ever has the same. */
  readonly fence: Compare;

  private constructor(store: Store, lease: Lease, context: Pick<ProcessContext, 'log'>, key: string, revision: number) {
    this.#store = store;
    this.#lease = lease;
    this.#context = context;
    this.#key = key;
    this.fence = { kind: 'mod-revision', key, equals: revision };
    this.#keeping = this.#keep();
  }

  /**
   * Takes a place, if nobody has it and the conditions hold.
   * @param at.keyOf the key, of the id of the lease: unique where each process has a key of its own
   * @param at.unless keys that must not be there
   * @returns undefined: somebody has it, or one of those keys is there
   */
  static async take(
    store: Store,
    at: { keyOf: (lease: string) => string; value: Uint8Array; unless: readonly string[] },
    context: Pick<ProcessContext, 'log'>,
  ): Promise<Place | undefined> {
    const lease = await store.grantLease(placeTtlMs);
    const key = at.keyOf(lease.id);
    const { succeeded, revision } = await store.txn({
      compare: [key, ...at.unless].map((each) => ({ kind: 'absent', key: each })),
      success: [{ kind: 'put', key, value: at.value, lease: lease.id }],
    });
    if (succeeded) return new Place(store, lease, context, key, revision);
    await store.revokeLease(lease.id);
    return undefined;
  }

  get key(): string {
    return this.#key;
  }

  /** Aborts when the place is lost. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Asks the store. @throws MeshError SLV-2184 when the place is lost, SLV-3505 when the store can't be asked */
  async confirm(): Promise<void> {
    const { succeeded } = await this.#store.txn({ compare: [this.fence], success: [] });
    if (!succeeded) this.#lose();
    this.require();
  }

  /** @throws MeshError SLV-2184 when it is known to be lost */
  require(): void {
    if (!this.#lost.signal.aborted) return;
    throw new MeshError('SLV-2184', 'This process has lost its lease, and begins anew.', {
      detail: { retryAfterSeconds: 1 },
    });
  }

  /** Gives it up at once: another may have it. */
  async release(): Promise<void> {
    this.#closing.abort();
    await this.#keeping;
    // The lease ends by itself where the store can't be reached.
    await this.#store.revokeLease(this.#lease.id).catch((err: unknown) => {
      this.#context.log.warn({ err }, 'the lease of this process was not given up; it ends by itself');
    });
  }

  /** A store that can't be reached takes nothing away: whether the lease ended, only the store says. */
  async #keep(): Promise<void> {
    const signal = AbortSignal.any([this.#closing.signal, this.#lost.signal]);
    for (let waitMs = keepEveryMs; !signal.aborted; ) {
      await pause(waitMs, signal);
      if (signal.aborted) return;
      try {
        await this.#store.keepAliveLease(this.#lease.id);
        waitMs = keepEveryMs;
      } catch (err) {
        if (isMeshError(err, 'SLV-3503')) return this.#lose();
        if (waitMs === keepEveryMs) this.#context.log.warn({ err }, 'the lease of this process was not renewed');
        waitMs = retryMs;
      }
    }
  }

  #lose(): void {
    if (this.#lost.signal.aborted) return;
    this.#context.log.error(
      { place: this.#key },
      'the lease of this process has ended: where it served, it signs nothing more',
    );
    this.#lost.abort();
  }
}
