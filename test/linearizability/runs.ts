import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEtcd } from '../etcd.ts';
import { CatalogUnderTest } from './catalog-under-test.ts';
import { startClients } from './clients.ts';
import { type EtcdFault, runFault } from './etcd-faults.ts';
import type { History } from './history.ts';
import { Recorder } from './recorder.ts';

/** How a run is done. */
export interface RunOptions {
  /** As Math.random; what clients do follows from it, but not what comes of it. */
  readonly random: () => number;
  /** Told what goes on. */
  readonly say: (words: string) => void;
}

/** Two catalogs on three members of etcd, each fault once, under load. */
export async function recordOnEtcd(faults: readonly EtcdFault[], { random, say }: RunOptions): Promise<History> {
  await using cluster = await startEtcd({ canBeCut: true });
  await using directory = await temporaryDirectory();
  await using one = new CatalogUnderTest('catalog-1', directory.path, cluster.addresses);
  // Each begins at another member, so that what hits one member leaves the other catalog ahead of it.
  await using two = new CatalogUnderTest('catalog-2', directory.path, cluster.addresses.toReversed());
  await Promise.all([one.start(), two.start()]);
  const recorder = new Recorder();
  await using clients = startClients(recorder, [one, two], random);
  for (const fault of faults) {
    clients.nextRound();
    await recorder.more('before a fault', 40, 'done');
    say(fault.name);
    await runFault(fault, { cluster, catalogs: [one, two], recorder });
  }
  return recorder;
}

/** One catalog on SQLite, killed with -9 under load and started again. */
export async function recordOnSqlite(kills: number, { random, say }: RunOptions): Promise<History> {
  await using directory = await temporaryDirectory();
  await using catalog = new CatalogUnderTest('catalog-1', directory.path, undefined);
  await catalog.start();
  const recorder = new Recorder();
  await using clients = startClients(recorder, [catalog], random);
  for (let kill = 1; kill <= kills; kill++) {
    clients.nextRound();
    await recorder.more('before it is killed', 100, 'done');
    say(`kill -9, number ${kill}`);
    await catalog.kill();
    await catalog.start();
    await recorder.more('after it was killed', 100, 'done');
  }
  return recorder;
}

async function temporaryDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'selvedge-linearizability-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
