import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { oneOf, onOff, text } from '#runtime/option-kinds.ts';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { exitCode } from '../exit-code.ts';
import { printJson, printRows, say } from '../output.ts';
import { ServiceClient } from '../service-client.ts';

const output = {
  parse: oneOf('table', 'json'),
  placeholder: 'form',
  default: 'table',
  description: 'table or json',
} as const;

const intentionSchema = z.looseObject({
  SourceName: z.string(),
  DestinationName: z.string(),
  Action: z.string().optional(),
  Permissions: z.array(z.unknown()).nullish(),
  Precedence: z.number(),
  Description: z.string().optional(),
});

const verdictSchema = z.looseObject({
  allowed: z.boolean(),
  rule: z.string(),
  reason: z.string(),
  reading: z.string().optional(),
  revision: z.number(),
  warning: z.string().optional(),
});
type Verdict = z.infer<typeof verdictSchema>;

/** `selvedge intention create|list|delete|check`. */
export function defineIntentionCommands(program: Command): void {
  const intention = program.command('intention').description('who may call whom');
  defineCommand(intention, {
    name: 'create',
    summary:
      'allow or deny calls from SOURCE to DESTINATION (a service name or *); an existing intention of the two is replaced',
    positional: ['<source>', '<destination>'],
    options: {
      ...catalogClientOptions,
      allow: { parse: onOff, description: 'allow all calls' },
      deny: { parse: onOff, description: 'deny all calls' },
      permissions: {
        parse: text,
        placeholder: 'file',
        description: "L7 rules instead: JSON array in Consul's form, - for standard input",
      },
      description: { parse: text, placeholder: 'text', description: 'why it is there' },
    },
    async run(options, [source = '', destination = '']) {
      const given = [options.allow, options.deny, options.permissions].filter((value) => value !== undefined);
      if (given.length !== 1)
        throw new MeshError('SLV-1003', 'give exactly one of --allow, --deny and --permissions FILE');
      const rules =
        options.permissions === undefined
          ? { Action: options.allow === true ? 'allow' : 'deny' }
          : { Permissions: readPermissions(options.permissions) };
      const client = new ServiceClient('catalog', { ...options, url: options.catalog });
      const answer = await client.send('PUT', pair(source, destination), {
        ...rules,
        ...(options.description === undefined ? {} : { Description: options.description }),
      });
      const warning = answer.headers['x-selvedge-warning'];
      if (warning !== undefined) say(`warning: ${warning}`);
      say(`intention ${source} -> ${destination} stored`);
    },
  });
  defineCommand(intention, {
    name: 'list',
    summary: 'all intentions, in the order in which they are consulted',
    options: { ...catalogClientOptions, output },
    async run(options) {
      const client = new ServiceClient('catalog', { ...options, url: options.catalog });
      const intentions = await client.json('GET', '/v1/connect/intentions', z.array(intentionSchema));
      if (options.output === 'json') {
        printJson(intentions);
        return;
      }
      const rows = intentions.map((item) => ({
        source: item.SourceName,
        destination: item.DestinationName,
        action: item.Action ?? `${item.Permissions?.length ?? 0} permissions`,
        precedence: item.Precedence,
        description: item.Description === '' ? undefined : item.Description,
      }));
      printRows(rows, ['source', 'destination', 'action', 'precedence', 'description'], 'table');
    },
  });
  defineCommand(intention, {
    name: 'delete',
    summary: 'remove the intention from SOURCE to DESTINATION',
    positional: ['<source>', '<destination>'],
    options: catalogClientOptions,
    async run(options, [source = '', destination = '']) {
      await new ServiceClient('catalog', { ...options, url: options.catalog }).send(
        'DELETE',
        pair(source, destination),
      );
      say(`intention ${source} -> ${destination} removed`);
    },
  });
  defineCommand(intention, {
    name: 'check',
    summary: 'what the proxies would decide, by the same code; exit code 0 allowed, 3 denied',
    positional: ['<source>', '<destination>'],
    options: {
      ...catalogClientOptions,
      method: { parse: text, placeholder: 'method', description: 'of the HTTP request' },
      path: { parse: text, placeholder: 'path', description: 'of the HTTP request' },
      header: { parse: header, placeholder: 'name=value', repeatable: true, description: 'of the HTTP request' },
      output,
    },
    async run(options, [source = '', destination = '']) {
      const headers: Record<string, string[]> = {};
      for (const { name, value } of options.header) headers[name] = [...(headers[name] ?? []), value];
      const client = new ServiceClient('catalog', { ...options, url: options.catalog });
      const verdict = await client.json('POST', '/v1/mesh/intentions/check', verdictSchema, {
        source,
        destination,
        ...(options.method === undefined ? {} : { method: options.method }),
        ...(options.path === undefined ? {} : { path: options.path }),
        ...(options.header.length === 0 ? {} : { headers }),
      });
      if (options.output === 'json') printJson(verdict);
      else printVerdict(verdict);
      process.exitCode = verdict.allowed ? exitCode.ok : exitCode.no;
    },
  });
}

function printVerdict({ allowed, rule, reason, reading, revision, warning }: Verdict): void {
  if (warning !== undefined) say(`warning: ${warning}`);
  const matched = reading === undefined ? '' : `reading ${reading}; `;
  process.stdout.write(`${allowed ? 'allowed' : 'denied'}: ${rule}: ${reason} (${matched}revision ${revision})\n`);
}

function pair(source: string, destination: string): string {
  return `/v1/connect/intentions/exact?${new URLSearchParams({ source, destination })}`;
}

function header(value: string): { name: string; value: string } {
  const separator = value.indexOf('=');
  if (separator < 1)
    throw new MeshError('SLV-1002', `"${value.slice(0, 80)}" is not a header; it takes the form name=value`);
  return { name: value.slice(0, separator).toLowerCase(), value: value.slice(separator + 1) };
}

function readPermissions(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8'));
  } catch (cause) {
    throw new MeshError('SLV-1005', `${file} holds no JSON that could be read (--permissions)`, { cause });
  }
}
