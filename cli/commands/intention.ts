import type { Command } from 'commander';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseIntention } from '#policies/intention-form.ts';
import { durationMs, integer, oneOf, onOff, text } from '#runtime/option-kinds.ts';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { exitCode } from '../exit-code.ts';
import { readInput } from '../input-file.ts';
import { printJson, printRows, say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';
import { defineIntentionFileCommands } from './intention-file.ts';
import { defineIntentionUse, showPreview } from './intention-use.ts';

const output = {
  parse: oneOf('table', 'json'),
  placeholder: 'form',
  default: 'table',
  description: 'table or json',
} as const;

const intentionSchema = z.looseObject({
  source: z.string(),
  destination: z.string(),
  action: z.string().optional(),
  permissions: z.array(z.unknown()).optional(),
  observe: z.boolean().optional(),
  expiresAt: z.string().optional(),
  precedence: z.number(),
  description: z.string().optional(),
  etag: z.string(),
});
const writtenSchema = z.looseObject({ intention: intentionSchema, warnings: z.array(z.string()) });
const deletedSchema = z.looseObject({ existed: z.boolean() });
const revertedSchema = z.looseObject({ intention: intentionSchema.nullable(), warnings: z.array(z.string()) });
const pastWriteSchema = z.looseObject({
  source: z.string(),
  revision: z.number(),
  at: z.string(),
  by: z.string(),
  how: z.string(),
  diff: z.array(z.string()),
});

const verdictSchema = z.looseObject({
  allowed: z.boolean(),
  rule: z.string(),
  reason: z.string(),
  reading: z.string().optional(),
  revision: z.number(),
  warning: z.string().optional(),
});
const findingSchema = z.looseObject({ problem: z.string(), message: z.string() });
type Verdict = z.infer<typeof verdictSchema>;

/** `selvedge intention create|list|delete|history|revert|lint|export|import|use|check`. */
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
      observe: { parse: onOff, description: 'let through what it would deny, and count it' },
      ttl: { parse: durationMs, placeholder: 'duration', description: 'it ends by itself after this long' },
      ifMatch: {
        parse: text,
        placeholder: 'etag',
        description: 'only if the intention is still the one with this ETag',
      },
      yes: { parse: onOff, description: 'an allow to *, meant as such' },
      force: { parse: onOff, description: 'although it lets through what is denied now (SLV-3005)' },
      preview: { parse: onOff, description: 'say what would change of the calls of the last hour, and write nothing' },
    },
    async run(options, [source = '', destination = '']) {
      const given = [options.allow, options.deny, options.permissions].filter((value) => value !== undefined);
      if (given.length !== 1)
        throw new MeshError('SLV-1003', 'give exactly one of --allow, --deny and --permissions FILE');
      const { action, permissions } = parseIntention(
        options.permissions === undefined
          ? { Action: options.allow === true ? 'allow' : 'deny' }
          : { Permissions: readInput(options.permissions) },
        { source, destination },
      );
      const body = {
        ...(action === undefined ? { permissions } : { action }),
        ...(options.description === undefined ? {} : { description: options.description }),
        ...(options.observe === true ? { observe: true } : {}),
        ...(options.ttl === undefined ? {} : { expiresAt: new Date(Date.now() + options.ttl).toISOString() }),
      };
      const headers = options.ifMatch === undefined ? {} : { 'if-match': options.ifMatch };
      const flags = [...(options.force === true ? ['force'] : []), ...(options.yes === true ? ['everywhere'] : [])];
      const query = flags.length === 0 ? '' : `?${flags.join('&')}`;
      if (options.preview === true) {
        await showPreview(catalogClient(options), `${pair(source, destination)}/preview${query}`, body);
        return;
      }
      const path = `${pair(source, destination)}${query}`;
      const answer = await catalogClient(options).json('PUT', path, writtenSchema, body, headers);
      for (const warning of answer.warnings) say(`warning: ${warning}`);
      say(`intention ${source} -> ${destination} stored`);
    },
  });
  defineCommand(intention, {
    name: 'list',
    summary: 'all intentions, in the order in which they are consulted',
    options: { ...catalogClientOptions, output },
    async run(options) {
      const intentions = await catalogClient(options).json('GET', '/v1/mesh/intentions', z.array(intentionSchema));
      if (options.output === 'json') {
        printJson(intentions);
        return;
      }
      const rows = intentions.map((item) => ({
        source: item.source,
        destination: item.destination,
        action: (item.action ?? `${item.permissions?.length ?? 0} permissions`) + (item.observe ? ' (observe)' : ''),
        precedence: item.precedence,
        expires: item.expiresAt,
        description: item.description,
      }));
      const ends = rows.some(({ expires }) => expires !== undefined) ? ['expires'] : [];
      printRows(rows, ['source', 'destination', 'action', 'precedence', ...ends, 'description'], 'table');
    },
  });
  defineCommand(intention, {
    name: 'delete',
    summary: 'remove the intention from SOURCE to DESTINATION',
    positional: ['<source>', '<destination>'],
    options: {
      ...catalogClientOptions,
      preview: { parse: onOff, description: 'say what would change of the calls of the last hour, and remove nothing' },
    },
    async run(options, [source = '', destination = '']) {
      if (options.preview === true) {
        await showPreview(catalogClient(options), `${pair(source, destination)}/preview`, null);
        return;
      }
      const { existed } = await catalogClient(options).json('DELETE', pair(source, destination), deletedSchema);
      say(
        existed
          ? `intention ${source} -> ${destination} removed`
          : `there was no intention ${source} -> ${destination}`,
      );
    },
  });
  defineCommand(intention, {
    name: 'history',
    summary: 'who changed the intentions of DESTINATION, when and how, the newest first',
    positional: ['<destination>'],
    options: {
      ...catalogClientOptions,
      source: { parse: text, placeholder: 'service', description: 'only those from this source' },
      output,
    },
    async run(options, [destination = '']) {
      const query = new URLSearchParams({
        destination,
        ...(options.source === undefined ? {} : { source: options.source }),
      });
      const writes = await catalogClient(options).json(
        'GET',
        `/v1/mesh/intentions/history?${query}`,
        z.array(pastWriteSchema),
      );
      if (options.output === 'json') {
        printJson(writes);
        return;
      }
      for (const { source, revision, at, by, how, diff } of writes) {
        process.stdout.write(`revision ${revision}  ${at}  ${source} -> ${destination} ${how} by ${by}\n`);
        for (const line of diff) process.stdout.write(`    ${line}\n`);
      }
    },
  });
  defineCommand(intention, {
    name: 'revert',
    summary: 'take back the newest change of the intention from SOURCE to DESTINATION, or all after a revision',
    positional: ['<source>', '<destination>'],
    options: {
      ...catalogClientOptions,
      to: {
        parse: integer(1, Number.MAX_SAFE_INTEGER),
        placeholder: 'revision',
        description: 'as it was after this revision (intention history)',
      },
      force: { parse: onOff, description: 'although it lets through what is denied now (SLV-3005)' },
    },
    async run(options, [source = '', destination = '']) {
      const path = `${pair(source, destination)}/revert${options.force === true ? '?force' : ''}`;
      const body = options.to === undefined ? {} : { to: options.to };
      const answer = await catalogClient(options).json('POST', path, revertedSchema, body);
      for (const warning of answer.warnings) say(`warning: ${warning}`);
      say(
        `intention ${source} -> ${destination} ${answer.intention === null ? 'removed, as it was then' : 'reverted'}`,
      );
    },
  });
  defineCommand(intention, {
    name: 'lint',
    summary: 'what of the stored intentions does not do what it says; exit code 3 where there is any',
    options: { ...catalogClientOptions, output },
    async run(options) {
      const path = '/v1/mesh/intentions/lint';
      const found = await catalogClient(options).json('GET', path, z.array(findingSchema));
      if (options.output === 'json') printJson(found);
      else for (const { problem, message } of found) process.stdout.write(`${problem}: ${message}\n`);
      process.exitCode = found.length === 0 ? exitCode.ok : exitCode.no;
    },
  });
  defineIntentionFileCommands(intention);
  defineIntentionUse(intention);
  defineCommand(intention, {
    name: 'check',
    summary: 'what the proxies would decide, by the same code; exit code 0 allowed, 3 denied',
    positional: ['<source>', '<destination>'],
    options: {
      ...catalogClientOptions,
      method: { parse: text, placeholder: 'method', description: 'of the HTTP request' },
      path: { parse: text, placeholder: 'path', description: 'of the HTTP request' },
      header: { parse: header, placeholder: 'name=value', repeatable: true, description: 'of the HTTP request' },
      claims: {
        parse: claims,
        placeholder: 'provider=json',
        repeatable: true,
        description: 'of a token that the request carries, as if it were verified',
      },
      output,
    },
    async run(options, [source = '', destination = '']) {
      const headers: Record<string, string[]> = {};
      for (const { name, value } of options.header) headers[name] = [...(headers[name] ?? []), value];
      const verdict = await catalogClient(options).json('POST', '/v1/mesh/intentions/check', verdictSchema, {
        source,
        destination,
        ...(options.method === undefined ? {} : { method: options.method }),
        ...(options.path === undefined ? {} : { path: options.path }),
        ...(options.header.length === 0 ? {} : { headers }),
        ...(options.claims.length === 0 ? {} : { tokens: Object.fromEntries(options.claims) }),
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
  return `/v1/mesh/intentions/${encodeURIComponent(source)}/${encodeURIComponent(destination)}`;
}

function header(value: string): { name: string; value: string } {
  const separator = value.indexOf('=');
  if (separator < 1)
    throw new MeshError('SLV-1002', `"${value.slice(0, 80)}" is not a header; it takes the form name=value`);
  return { name: value.slice(0, separator).toLowerCase(), value: value.slice(separator + 1) };
}

function claims(value: string): [provider: string, claims: unknown] {
  const separator = value.indexOf('=');
  try {
    return [value.slice(0, separator), z.looseObject({}).parse(JSON.parse(value.slice(separator + 1)))];
  } catch (cause) {
    throw new MeshError('SLV-1002', `"${value.slice(0, 80)}" has no claims; it takes the form okta={"role":"admin"}`, {
      cause,
    });
  }
}
