import type { Command } from 'commander';
import { stringify } from 'yaml';
import { z } from 'zod';
import { oneOf, onOff } from '#runtime/option-kinds.ts';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { readInput } from '../input-file.ts';
import { printJson, say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';

/** Most bytes of all intentions of a mesh. */
const maxFileBytes = 64 * 1_048_576;

const form = {
  parse: oneOf('yaml', 'json'),
  placeholder: 'form',
  default: 'yaml',
  description: 'yaml or json',
} as const;

/** What the catalog answers to an import. */
export const importedSchema = z.looseObject({
  applied: z.boolean(),
  changes: z.array(z.looseObject({ source: z.string(), destination: z.string(), diff: z.array(z.string()) })),
  unchanged: z.number(),
  meta: z.array(z.string()),
  ended: z.array(z.looseObject({ source: z.string(), destination: z.string() })),
  warnings: z.array(z.string()),
  steps: z.number(),
});

/** `selvedge intention export|import`. */
export function defineIntentionFileCommands(intention: Command): void {
  defineCommand(intention, {
    name: 'export',
    summary: 'all intentions as one file, on standard output',
    options: {
      ...catalogClientOptions,
      output: form,
    },
    async run(options) {
      const { body } = await catalogClient(options).send('GET', '/v1/mesh/intentions/export', undefined, maxFileBytes);
      const file: unknown = JSON.parse(body.toString('utf8'));
      if (options.output === 'json') printJson(file);
      else process.stdout.write(stringify(file));
    },
  });
  defineCommand(intention, {
    name: 'import',
    summary: 'what FILE (of export, - for standard input) would change; with --apply, change it',
    positional: ['<file>'],
    options: {
      ...catalogClientOptions,
      apply: { parse: onOff, description: 'write it; without, nothing is written' },
      prune: { parse: onOff, description: 'intentions that are not in FILE end' },
      yes: { parse: onOff, description: 'allows to *, meant as such' },
      force: { parse: onOff, description: 'although it lets through what is denied now (SLV-3005)' },
    },
    async run(options, [file = '']) {
      const flags = [
        ...(options.apply === true ? ['apply'] : []),
        ...(options.prune === true ? ['prune'] : []),
        ...(options.force === true ? ['force'] : []),
        ...(options.yes === true ? ['everywhere'] : []),
      ];
      const path = `/v1/mesh/intentions/import${flags.length === 0 ? '' : `?${flags.join('&')}`}`;
      printImported(await catalogClient(options).json('POST', path, importedSchema, readInput(file)));
    },
  });
}

/** Shows what an import did, or would do. */
export function printImported(imported: z.infer<typeof importedSchema>): void {
  for (const { source, destination, diff } of imported.changes) {
    process.stdout.write(`${source} -> ${destination}\n`);
    for (const line of diff) process.stdout.write(`    ${line}\n`);
  }
  for (const destination of imported.meta) process.stdout.write(`${destination}: Meta or JWT\n`);
  for (const { source, destination } of imported.ended) say(`${source} -> ${destination} has ended: passed over`);
  for (const warning of imported.warnings) say(`warning: ${warning}`);
  const counts = `${imported.changes.length} intentions ${imported.applied ? 'changed' : 'would change'}, ${imported.unchanged} are as they should be`;
  say(imported.applied ? counts : `${counts}; nothing is written without --apply`);
}
