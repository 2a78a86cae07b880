import type { Command } from 'commander';
import type { BackupSummary } from '#identity/backup/backup.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import { createLogger } from '#runtime/logging.ts';
import { text } from '#runtime/option-kinds.ts';
import { systemContext } from '#runtime/process-context.ts';
import { identityOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { type OutputForm, printJson, printRows } from '../output.ts';
import { outputOption } from './identity-client.ts';

const passphraseFile = {
  parse: text,
  placeholder: 'file',
  required: true,
  description: 'file whose first line is the passphrase, 16 characters or more; kept elsewhere than the backup',
} as const;

/** `selvedge identity backup` and `… restore`: on the files of a service that is stopped, not over the network. */
export function defineBackup(identity: Command): void {
  defineCommand(identity, {
    name: 'backup',
    summary: 'write CA, nodes, tokens and revocations of a stopped identity service into one encrypted file',
    options: {
      dataDir: identityOptions.dataDir,
      out: { parse: text, placeholder: 'file', required: true, description: 'the file to make' },
      passphraseFile,
      output: outputOption,
    },
    async run(options) {
      const { backUp } = await import('#identity/backup/backup.ts');
      const { dataDir, out } = options;
      print(await backUp({ dataDir, out, passphrase: await read(options.passphraseFile) }, context()), options.output);
    },
  });
  defineCommand(identity, {
    name: 'restore',
    summary: 'make the data directory of an identity service of a backup; never over one that is there',
    options: {
      dataDir: identityOptions.dataDir,
      from: { parse: text, placeholder: 'file', required: true, description: 'the backup' },
      passphraseFile,
      output: outputOption,
    },
    async run(options) {
      const { restore } = await import('#identity/backup/backup.ts');
      const { dataDir, from } = options;
      print(
        await restore({ dataDir, from, passphrase: await read(options.passphraseFile) }, context()),
        options.output,
      );
    },
  });
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
