import type { Command } from 'commander';
import { z } from 'zod';
import { oneOf, text } from '#runtime/option-kinds.ts';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import type { ServiceClient } from '../service-client.ts';
import { catalogClient } from './catalog-client.ts';

const callSchema = z.looseObject({
  source: z.string(),
  destination: z.string(),
  method: z.string(),
  path: z.string(),
  allowed: z.number(),
  denied: z.number(),
  observed: z.number(),
});
const sortSchema = z.looseObject({ count: z.number(), calls: z.array(callSchema) });
const previewSchema = z.looseObject({
  summary: z.string(),
  diff: z.array(z.string()),
  loses: sortSchema,
  gains: sortSchema,
  depends: sortSchema,
  missed: z.number(),
  warnings: z.array(z.string()),
  refused: z.looseObject({ code: z.string(), detail: z.string() }).optional(),
});
const output = {
  parse: oneOf('table', 'json'),
  placeholder: 'form',
  default: 'table',
  description: 'table or json',
} as const;

/** `selvedge intention use`. */
export function defineIntentionUse(intention: Command): void {
  defineCommand(intention, {
    name: 'use',
    summary: 'how DESTINATION was called in the last hour: by whom, which paths, let in, refused, or only observed',
    positional: ['<destination>'],
    options: {
      ...catalogClientOptions,
      source: { parse: text, placeholder: 'service', description: 'only calls from this source' },
      output,
    },
    async run(options, [destination = '']) {
      const source = options.source === undefined ? {} : { source: options.source };
      const query = new URLSearchParams({ destination, ...source });
      const schema = z.looseObject({ calls: z.array(callSchema), missed: z.number() });
      const used = await catalogClient(options).json('GET', `/v1/mesh/intentions/use?${query}`, schema);
      if (options.output === 'json') {
        printJson(used);
        return;
      }
      printRows(used.calls, ['source', 'method', 'path', 'allowed', 'denied', 'observed'], 'table');
      if (used.missed > 0) say(`${used.missed} more calls, of which no paths were kept`);
    },
  });
}

/** Shows what an edit would change. @param intention null: the pair says nothing any more */
export async function showPreview(client: ServiceClient, path: string, intention: object | null): Promise<void> {
  const preview = await client.json('POST', path, previewSchema, { intention });
  for (const line of preview.diff) process.stdout.write(`    ${line}\n`);
  process.stdout.write(`${preview.summary}\n`);
  for (const [sign, { calls }] of [
    ['-', preview.loses],
    ['+', preview.gains],
    ['?', preview.depends],
  ] as const) {
    for (const { source, destination, method, path: used, allowed, denied, observed } of calls) {
      const what = used === '' ? 'connections' : `${method} ${used}`;
      const counts = `${allowed + observed} let in, ${denied} refused`;
      process.stdout.write(`  ${sign} ${source} -> ${destination} ${what} (${counts})\n`);
    }
  }
  if (preview.missed > 0) say(`${preview.missed} more calls, of which no paths were kept, are not looked at`);
  for (const warning of preview.warnings) say(`warning: ${warning}`);
  if (preview.refused !== undefined) say(`it would be refused: ${preview.refused.code} ${preview.refused.detail}`);
}
