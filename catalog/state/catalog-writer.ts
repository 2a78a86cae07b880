import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Compare, Operation, Store } from '#store/contract.ts';
import type { CatalogAudit } from '../audit/catalog-audit.ts';
import { encode } from './indexed.ts';
import { lastWriteKey } from './keys.ts';
import type { StoreFollower } from './store-follower.ts';
import { WriteGroups } from './write-groups.ts';

/** What a request wants written, as decided on the state in memory. `compare` names all that the decision was based on. */
export interface WritePlan<T> {
  readonly compare: readonly Compare[];
  readonly operations: readonly Operation[];
  readonly result: T;
}

/** Decisions made anew because another catalog's write came between. Far more than contention makes; then the client is told. */
const maxAttempts = 16;

/** All writes of the catalog. */
export class CatalogWriter {
  readonly #groups: WriteGroups;
  readonly #follower: StoreFollower;
  readonly #audit: CatalogAudit;
  /** The newest write under way or waiting, by the key that it writes first. */
  readonly #lanes = new Map<string, Promise<unknown>>();

  constructor(store: Store, follower: StoreFollower, audit: CatalogAudit) {
    this.#groups = new WriteGroups(store, { kind: 'put', key: lastWriteKey, value: encode({}) });
    this.#follower = follower;
    this.#audit = audit;
  }

  /**
   * Writes what `decide` says, atomically, if all it was based on still holds; otherwise lets it decide again on the newer state. (That is no blind
   * retry: the store has said that it wrote nothing.) Answers after the write is durable *and* in memory, so a client reads what it wrote.
   * Nothing to do writes nothing: an agent that registers the same again wakes nobody. But that there is nothing to do is only said of a state that has
   * all that was acknowledged before: what this catalog remembers as done already, another one may have undone since.
   * Writers of one thing take turns, so that none starves; writers of different things share a transaction (write-groups.ts).
   *
   * Each change is in the audit log before it is answered; while that can't be written, nothing is.
   *
   * @throws what `decide` throws; SLV-35nn of the store; SLV-3001, SLV-3002, SLV-2150
   */
  async commit<T>(decide: () => WritePlan<T>): Promise<T> {
    const [first] = decide().operations;
    if (first === undefined) return this.#write(decide);
    const lane = first.kind === 'delete-prefix' ? first.prefix : first.key;
    const ahead = this.#lanes.get(lane) ?? Promise.resolve();
    const write = ahead.then(() => this.#write(decide));
    const turn = write.then(
      () => undefined,
      () => undefined, // whoever waits its turn has nothing to do with it; the writer itself is told
    );
    this.#lanes.set(lane, turn);
    try {
      return await write;
    } finally {
      if (this.#lanes.get(lane) === turn) this.#lanes.delete(lane);
    }
  }

  async #write<T>(decide: () => WritePlan<T>): Promise<T> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      if (attempt > 0) await this.#follower.catchUp();
      const { compare, operations, result } = decide();
      if (operations.length === 0) {
        if (attempt > 0) return result;
        continue;
      }
      await this.#audit.ready();
      const record = this.#audit.noted(operations);
      const { succeeded, revision } = await this.#groups.write(compare, operations);
      if (succeeded) {
        await Promise.all([this.#follower.applied(revision), record(revision)]);
        return result;
      }
    }
    throw new MeshError('SLV-3002', `The write met a concurrent one ${maxAttempts} times.`);
  }
}

/** @returns the condition that a key is as the state shows it. */
export function unchanged(key: string, modifyIndex: number | undefined): Compare {
  return modifyIndex === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: modifyIndex };
}
