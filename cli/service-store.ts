import { join } from 'node:path';
import type { ProcessContext } from '#runtime/process-context.ts';
import { keepCompact } from '#store/compaction.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import type { EtcdLocation } from './etcd-options.ts';

/** A service's store and what keeps it in shape. */
export interface ServiceStore {
  readonly store: Store;
  close(): Promise<void>;
}

/** Where the store of a service is. */
export interface StoreLocation {
  /** `catalog`: names the file, or the keys. */
  readonly service: string;
  /** For SQLite; undefined: in memory. */
  readonly dataDir: string | undefined;
  /** Instead of SQLite. */
  readonly etcd?: EtcdLocation | undefined;
}

/**
 * Opens the store of a service, compacted as it goes.
 *
 * @throws MeshError as openSqliteStore or openEtcdStore
 */
export async function openServiceStore(location: StoreLocation, context: ProcessContext): Promise<ServiceStore> {
  const { clock, log } = context;
  const store = await openStore(location, context);
  const stopCompacting = keepCompact(store, { clock, log });
  return {
    store,
    async close() {
      stopCompacting();
      await store.close();
    },
  };
}

async function openStore({ service, dataDir, etcd }: StoreLocation, { log }: ProcessContext): Promise<Store> {
  if (etcd === undefined)
    return openSqliteStore({ path: dataDir === undefined ? undefined : join(dataDir, `${service}.db`), log });
  // Loaded when needed: few have a cluster, and gRPC is large.
  const { openEtcdStore } = await import('#store/etcd/etcd-store.ts');
  return openEtcdStore({ ...etcd, prefix: `${etcd.prefix}/${service}`, log });
}
