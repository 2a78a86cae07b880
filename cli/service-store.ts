import { join } from 'node:path';
import type { ProcessContext } from '#runtime/process-context.ts';
import { keepCompact } from '#store/compaction.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';

/** A service's store and what keeps it in shape. */
export interface ServiceStore {
  readonly store: Store;
  close(): Promise<void>;
}

/**
 * Opens the store of a service on SQLite, compacted as it goes.
 *
 * @param dataDir undefined: in memory
 * @param name    file name, such as `catalog.db`
 */
export async function openServiceStore(
  dataDir: string | undefined,
  name: string,
  context: ProcessContext,
): Promise<ServiceStore> {
  const { clock, log } = context;
  const store = await openSqliteStore({ path: dataDir === undefined ? undefined : join(dataDir, name), clock, log });
  const stopCompacting = keepCompact(store, { clock, log });
  return {
    store,
    async close() {
      stopCompacting();
      await store.close();
    },
  };
}
