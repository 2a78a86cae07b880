import { AsyncLocalStorage } from 'node:async_hooks';
import { RefusalBudget } from '#runtime/audit/refusal-budget.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Operation } from '#store/contract.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { type CheckRecord, checkRecordSchema } from '../state/checks.ts';
import { catalogPrefix, nounOf } from '../state/keys.ts';
import type { Act, CatalogAuditLog } from './catalog-events.ts';

/**
 * What the catalog's one writer and its door record. Who acts is known at the door and needed at the writer, with every route between them; it travels
 * beside the call (AsyncLocalStorage), so that no route, of today or of tomorrow, can forget to hand it on.
 */
export class CatalogAudit {
  readonly #log: CatalogAuditLog;
  readonly #state: CatalogState;
  readonly #refusals: RefusalBudget;
  readonly #acting = new AsyncLocalStorage<Act>();

  constructor(log: CatalogAuditLog, state: CatalogState, clock: Clock) {
    this.#log = log;
    this.#state = state;
    this.#refusals = new RefusalBudget(clock);
  }

  /** Whatever is written within `work` was done by `act`. */
  during<T>(act: Act, work: () => T): T {
    return this.#acting.run(act, work);
  }

  /** To be asked before a write. @throws MeshError SLV-2150 when it could not be recorded */
  ready(): Promise<void> {
    return this.#log.ready();
  }

  /**
   * Takes note of a write that is about to be made, while the state is the one before it.
   * @returns what records it once it is done; that throws MeshError SLV-2150
   */
  noted(operations: readonly Operation[]): (revision: number) => Promise<void> {
    const changes = operations.filter((operation) => this.#isChange(operation)).map(placeOf);
    const act = this.#acting.getStore() ?? { caller: 'catalog' };
    return async (revision) => {
      if (changes.length > 0) await this.#log.append({ event: 'changed', ...act, changes, revision });
    };
  }

  /** Records a write that was refused. @throws MeshError SLV-2150 */
  async refused(act: Act, status: number, code: string | undefined, reason: string): Promise<void> {
    if (!this.#refusals.take()) return;
    const count = this.#refusals.counted();
    await Promise.all([
      ...(count > 0 ? [this.#log.append({ event: 'refused-more', count })] : []),
      this.#log.append({ event: 'refused', ...act, status, ...(code === undefined ? {} : { code }), reason }),
    ]);
  }

  /** Records what is still to be said, and closes the log. */
  async close(): Promise<void> {
    const count = this.#refusals.counted();
    if (count > 0) await this.#log.append({ event: 'refused-more', count }).catch(() => undefined); // it is closing
    await this.#log.close();
  }

  /**
   * What a check has to say changes with every run of it; that is no change of the catalog as long as the verdict stays. The history of intentions is written
   * along with them.
   */
  #isChange(operation: Operation): boolean {
    if (operation.kind !== 'delete-prefix' && nounOf(operation.key) === 'intention-history') return false;
    if (operation.kind !== 'put' || !operation.key.startsWith(`${catalogPrefix}checks/`)) return true;
    const after = checkRecordSchema.safeParse(JSON.parse(Buffer.from(operation.value).toString('utf8'))).data;
    if (after === undefined) return true;
    const before = this.#state.checks.get(after.Node, after.CheckID)?.record;
    return before === undefined || withoutOutput(before) !== withoutOutput(after);
  }
}

function withoutOutput(record: CheckRecord): string {
  return JSON.stringify({ ...record, Output: '' });
}

function placeOf(operation: Operation): string {
  const place = operation.kind === 'delete-prefix' ? `${operation.prefix}*` : operation.key;
  return `${operation.kind === 'put' ? 'put' : 'delete'} ${place.slice(catalogPrefix.length)}`;
}
