import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { createLogger } from '#runtime/logging.ts';
import { text } from '#runtime/option-kinds.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { Snapshot } from '#store/snapshot.ts';
import { catalogClientOptions, catalogOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { etcdLocation, etcdOptions } from '../etcd-options.ts';
import { newEtcdStore } from '../new-etcd-store.ts';
import { say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';

const service = 'catalog';
const storeFile = `${service}.db`;
const maxBackupBytes = 1024 * 1024 * 1024;

/** `selvedge catalog backup|restore|move`. */
export function defineCatalogCommands(program: Command): void {
  const catalog = program.command('catalog').description('backup, restore and move of what the catalog holds');
  defineCommand(catalog, {
    name: 'backup',
    summary: 'write all that a running catalog holds into one file, as of one moment',
    options: {
      ...catalogClientOptions,
      out: { parse: text, placeholder: 'file', required: true, description: 'the file to make' },
    },
    async run({ out, ...options }) {
      if (existsSync(out)) throw new MeshError('SLV-1005', `${out} is there already.`, { detail: { path: out } });
      const client = catalogClient(options);
      const { body } = await client.send('GET', '/v1/mesh/backup', undefined, maxBackupBytes);
      // Read before it is kept: a backup that can't be read is none.
      const { decodeSnapshot } = await loadSnapshots();
      const snapshot = await decodeSnapshot(body, service);
      await writeFileAtomic(out, body, 0o600);
      say(`${out}: ${described(snapshot)}`);
    },
  });
  defineCommand(catalog, {
    name: 'restore',
    summary:
      'make the store of a catalog of a backup: in an empty data directory, or in etcd; never over one that is there',
    options: {
      from: { parse: text, placeholder: 'file', required: true, description: 'the backup' },
      dataDir: catalogOptions.dataDir,
      ...etcdOptions,
    },
    async run({ from, dataDir, ...options }) {
      const etcd = await etcdLocation(options);
      const file = await readFileBounded(from, maxBackupBytes);
      if (file === undefined) throw new MeshError('SLV-1005', `There is no file ${from}.`, { detail: { path: from } });
      const { decodeSnapshot, restoreMargin } = await loadSnapshots();
      const snapshot = await decodeSnapshot(file, service);
      const firstRevision = snapshot.revision + restoreMargin;
      if (etcd === undefined) await createSqlite(dataDir, snapshot, firstRevision);
      else await newEtcdStore(etcd, snapshot, firstRevision);
      say(`restored: ${described(snapshot)}`);
    },
  });
  defineCommand(catalog, {
    name: 'move',
    summary: 'move a stopped catalog from SQLite into etcd; its indexes go on where they were',
    options: { dataDir: catalogOptions.dataDir, ...etcdOptions },
    async run({ dataDir, ...options }) {
      const etcd = await etcdLocation(options);
      if (etcd === undefined) throw new MeshError('SLV-1003', 'Nothing says where to move it: give --etcd.');
      const path = join(dataDir, storeFile);
      if (!existsSync(path))
        throw new MeshError('SLV-1005', `${dataDir} is no data directory of a catalog: it has no ${storeFile}.`);
      const { clock, log } = context();
      const [{ openSqliteStore }, { takeSnapshot }] = await Promise.all([loadSqlite(), loadSnapshots()]);
      // Held open until all is there: its lock keeps the catalog from starting.
      await using store = await openSqliteStore({ path, clock, log });
      const snapshot = await takeSnapshot(store, service, clock());
      await newEtcdStore(etcd, snapshot, snapshot.revision);
      say(`moved: ${described(snapshot)}; ${path} is as it was, for the way back`);
    },
  });
}

// Loaded when needed: the processes of the mesh define this command, too, and have no use for it.
const loadSnapshots = () => import('#store/snapshot.ts');
const loadSqlite = () => import('#store/sqlite/sqlite-store.ts');

async function createSqlite(dataDir: string, snapshot: Snapshot, firstRevision: number): Promise<void> {
  const [{ openSqliteStore }, { fillStore }] = await Promise.all([loadSqlite(), loadSnapshots()]);
  const path = join(dataDir, storeFile);
  if (existsSync(path)) throw new MeshError('SLV-3511', `${dataDir} has a ${storeFile} already.`);
  await ensurePrivateDirectory(dirname(dataDir));
  await ensurePrivateDirectory(dataDir);
  const growing = join(dataDir, 'restoring');
  await rm(growing, { recursive: true, force: true });
  await mkdir(growing, { mode: 0o700 });
  const { clock, log } = context();
  {
    await using store = await openSqliteStore({ path: join(growing, storeFile), clock, log, firstRevision });
    await fillStore(store, snapshot);
  }
  const left = (await readdir(growing)).filter((name) => name !== storeFile);
  if (left.length > 0) throw new MeshError('SLV-3509', `SQLite left ${left.join(', ')} behind in ${growing}.`);
  await rename(join(growing, storeFile), path);
  await rm(growing, { recursive: true });
}

function described({ entries, revision, createdAtMs }: Snapshot): string {
  return `${entries.length} keys as of index ${revision}, ${new Date(createdAtMs).toISOString()}`;
}

function context() {
  return systemContext(createLogger({ process: 'cli', level: 'warn' }));
}
