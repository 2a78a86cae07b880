import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { Snapshot } from '#store/snapshot.ts';
import type { EtcdLocation } from './etcd-options.ts';

/**
 * Makes the store of a service in an etcd cluster, of a snapshot.
 *
 * @param firstRevision what its revisions are above
 * @throws MeshError SLV-3511 when there is one; else as createEtcdStore
 */
export async function newEtcdStore(etcd: EtcdLocation, snapshot: Snapshot, firstRevision: number): Promise<void> {
  // Loaded when needed: gRPC is large.
  const { createEtcdStore } = await import('#store/etcd/etcd-store.ts');
  const { log } = systemContext(createLogger({ process: 'cli', level: 'warn' }));
  await createEtcdStore({ ...etcd, prefix: `${etcd.prefix}/${snapshot.service}`, log }, snapshot, firstRevision);
}
