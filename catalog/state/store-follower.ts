import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { KeyValue, Store } from '#store/contract.ts';
import { pagesOf } from '#store/pages.ts';
import type { CatalogState } from './catalog-state.ts';
import { encode } from './indexed.ts';
import { catalogPrefix, lastWriteKey } from './keys.ts';

/** How long a request waits for its own write to come back over the watch before it is told that the catalog lags. */
const applyTimeoutMs = 10_000;

/** Keeps the state equal to the store: a range once, then a watch, a fresh range when the watch fell behind compaction. */
export class StoreFollower {
  readonly #store: Store;
  readonly #state: CatalogState;
  readonly #context: ProcessContext;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<{ readonly revision: number; readonly done: () => void }>();
  #watching = false;
  #loop: Promise<void> | undefined;

  constructor(store: Store, state: CatalogState, context: ProcessContext) {
    this.#store = store;
    this.#state = state;
    this.#context = context;
    state.onChange((_, revision) => this.#wake(revision));
  }

  /** True while the watch is up; false: answers may be stale, and readiness says so. */
  get current(): boolean {
    return this.#watching;
  }

  /** Reads everything, then follows. Resolves once the state is whole. */
  async start(): Promise<void> {
    await this.#mark();
    try {
      await this.#fill();
    } catch (error) {
      if (!isMeshError(error, 'SLV-3502')) throw error; // compacted meanwhile, by another catalog
      await this.#snapshot();
    }
    this.#watching = true;
    this.#loop = this.#follow();
  }

  /** Resolves once the state holds this revision of the catalog's own keys. Throws SLV-3001 when it does not come. */
  async applied(revision: number): Promise<void> {
    if (this.#state.revision >= revision) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { revision, done: resolve };
    this.#waiters.add(waiter);
    const behind = () =>
      new MeshError('SLV-3001', `The catalog holds revision ${this.#state.revision}; ${revision} has not arrived.`);
    const timer = setTimeout(() => reject(behind()), applyTimeoutMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    }
  }

  /** Resolves once the state holds all that was acknowledged before the call: a linearizable read. */
  async catchUp(): Promise<void> {
    await this.applied((await this.#store.get(lastWriteKey))?.modRevision ?? 0);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  /** Page by page: nobody reads yet. */
  async #fill(): Promise<void> {
    let revision = 0;
    for await (const page of pagesOf(this.#store, catalogPrefix)) {
      this.#state.fill(page.kvs);
      ({ revision } = page);
    }
    this.#state.filled(revision);
  }

  /** At once, for there are readers: they see the state of one revision or of the other. */
  async #snapshot(): Promise<void> {
    const kvs: KeyValue[] = [];
    let revision = 0;
    for await (const page of pagesOf(this.#store, catalogPrefix)) {
      kvs.push(...page.kvs);
      ({ revision } = page);
    }
    this.#state.reset({ kvs, revision });
  }

  /** The first write of all, so that index 1, which Consul's clients take for "nothing yet", is older than whatever a client waits for. */
  async #mark(): Promise<void> {
    await this.#store.txn({
      compare: [{ kind: 'absent', key: lastWriteKey }],
      success: [{ kind: 'put', key: lastWriteKey, value: encode({}) }],
    });
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        // An answer that only a store that can be reached gives.
        if (failures > 0) await this.#store.get(lastWriteKey);
        this.#watching = true;
        for await (const batch of this.#store.watch(catalogPrefix, this.#state.revision + 1, signal)) {
          this.#state.apply(batch);
          failures = 0;
        }
        if (!signal.aborted) throw new MeshError('SLV-3505', 'The watch of the store ended by itself.');
      } catch (error) {
        if (signal.aborted) return;
        this.#watching = false;
        failures += 1;
        this.#context.log.error(
          { err: error, failures },
          'watch of the store ended: answers may be stale until it is back',
        );
        await pause(Math.min(250 * 2 ** failures, 5_000), signal);
        if (isMeshError(error, 'SLV-3502')) await this.#resnapshot();
      }
    }
  }

  async #resnapshot(): Promise<void> {
    try {
      await this.#snapshot();
    } catch (error) {
      this.#context.log.error({ err: error }, 'store not readable; trying again');
    }
  }

  #wake(revision: number): void {
    for (const waiter of this.#waiters) if (waiter.revision <= revision) waiter.done();
  }
}
