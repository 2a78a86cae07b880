import type { Command } from 'commander';
import type { BackupSummary } from '#identity/backup/backup.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import { createLogger } from '#runtime/logging.ts';
import { text } from '#runtime/option-kinds.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import type { Snapshot } from '#store/snapshot.ts';
import { identityOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { type EtcdLocation, etcdLocation, etcdOptions } from '../etcd-options.ts';
import { newEtcdStore } from '../new-etcd-store.ts';
import { type OutputForm, printJson, printRows, say } from '../output.ts';
import { outputOption } from './identity-client.ts';

const passphraseFile = {
  parse: text,
  placeholder: 'file',
  required: true,
  description: 'file whose first line is the passphrase, 16 characters or more; kept elsewhere than the backup',
} as const;

/** `selvedge identity backup`, `… restore` and `… move`: on the files and the store of a service, never through the service. */
export function defineBackup(identity: Command): void {
  defineCommand(identity, {
    name: 'backup',
    summary:
      'write CA, nodes, tokens and revocations into one encrypted file: of a stopped identity service, or with --etcd of one that may run',
    options: {
      dataDir: identityOptions.dataDir,
      ...etcdOptions,
      out: { parse: text, placeholder: 'file', required: true, description: 'the file to make' },
      passphraseFile,
      output: outputOption,
    },
    async run(options) {
      const { backUp } = await import('#identity/backup/backup.ts');
      const { dataDir, out } = options;
      const passphrase = await read(options.passphraseFile);
      const etcd = await etcdLocation(options);
      await using shared = etcd && (await openShared(etcd));
      print(await backUp({ dataDir, out, passphrase, shared }, context()), options.output);
    },
  });
  defineCommand(identity, {
    name: 'restore',
    summary:
      'make the data directory of an identity service of a backup, and with --etcd its store there; never over one that is there',
    options: {
      dataDir: identityOptions.dataDir,
      ...etcdOptions,
      from: { parse: text, placeholder: 'file', required: true, description: 'the backup' },
      passphraseFile,
      output: outputOption,
    },
    async run(options) {
      const { restore } = await import('#identity/backup/backup.ts');
      const { dataDir, from } = options;
      const passphrase = await read(options.passphraseFile);
      const etcd = await etcdLocation(options);
      const into = etcd && { into: (snapshot: Snapshot) => newEtcdStore(etcd, snapshot, snapshot.revision) };
      print(await restore({ dataDir, from, passphrase, ...into }, context()), options.output);
    },
  });
  defineCommand(identity, {
    name: 'move',
    summary:
      'move the records of a stopped identity service from SQLite into etcd, for several processes; keys stay in files',
    options: { dataDir: identityOptions.dataDir, ...etcdOptions },
    async run({ dataDir, ...options }) {
      const { moveRecords } = await import('#identity/backup/backup.ts');
      const etcd = await etcdLocation(options);
      if (etcd === undefined) throw new MeshError('SLV-1003', 'Nothing says where to move it: give --etcd.');
      const { entries } = await moveRecords(dataDir, context(), (moved) => newEtcdStore(etcd, moved, moved.revision));
      say(
        `moved: ${entries.length} keys; the files in ${dataDir} are as they were, and needed where the CA is embedded`,
      );
    },
  });
}

async function openShared(etcd: EtcdLocation): Promise<Store> {
  const { openEtcdStore } = await import('#store/etcd/etcd-store.ts');
  return openEtcdStore({ ...etcd, prefix: `${etcd.prefix}/identity`, log: context().log });
}

async function read(path: string): Promise<string> {
  const content = await readFileBounded(path, 4_096);
  if (content === undefined)
    throw new MeshError('SLV-1005', `There is no file ${path} (--passphrase-file).`, { detail: { path } });
  return content.toString('utf8').split(/\r?\n/, 1)[0] ?? '';
}

function context() {
  return systemContext(createLogger({ process: 'identity', level: 'warn' }));
}

function print(summary: BackupSummary, form: OutputForm): void {
  if (form === 'json') printJson(summary);
  else printRows([{ ...summary }], ['createdAt', 'pins', 'nodes', 'revocations'], 'table');
}
