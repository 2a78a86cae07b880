import type { Command } from 'commander';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { readInput } from '../input-file.ts';
import { printJson, say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';

/** `selvedge config-entry write|read|delete`: config entries of any kind, in Consul's form. */
export function defineConfigEntryCommands(program: Command): void {
  const entry = program.command('config-entry').description("configuration of services, in Consul's form");
  defineCommand(entry, {
    name: 'write',
    summary: 'store the entry in FILE (JSON or YAML, - for standard input)',
    positional: ['<file>'],
    options: catalogClientOptions,
    async run(options, [file = '']) {
      const body = readEntry(file);
      const { headers } = await catalogClient(options).send('PUT', '/v1/config', body);
      const warning = headers['x-selvedge-warning'];
      if (warning !== undefined) say(`warning: ${warning}`);
      say(`${[body.Kind, body.Name].join(' ').trim()} stored`);
    },
  });
  defineCommand(entry, {
    name: 'read',
    summary: 'show the entry of KIND and NAME',
    positional: ['<kind>', '<name>'],
    options: catalogClientOptions,
    async run(options, [kind = '', name = '']) {
      const client = catalogClient(options);
      printJson(await client.json('GET', path(kind, name), z.looseObject({})));
    },
  });
  defineCommand(entry, {
    name: 'delete',
    summary: 'remove the entry of KIND and NAME',
    positional: ['<kind>', '<name>'],
    options: catalogClientOptions,
    async run(options, [kind = '', name = '']) {
      await catalogClient(options).send('DELETE', path(kind, name));
      say(`${kind} ${name} removed`);
    },
  });
}

function path(kind: string, name: string): string {
  return `/v1/config/${encodeURIComponent(kind)}/${encodeURIComponent(name)}`;
}

/** Of `mesh` there is one, which Consul does not name. */
const entrySchema = z.union([
  z.looseObject({ Kind: z.literal('mesh'), Name: z.string().exactOptional() }),
  z.looseObject({ Kind: z.string(), Name: z.string() }),
]);

function readEntry(file: string): z.infer<typeof entrySchema> {
  const entry = entrySchema.safeParse(readInput(file));
  if (!entry.success) throw new MeshError('SLV-1002', `${file}: an entry has at least Kind and Name`);
  return entry.data;
}
