import type { Command } from 'commander';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { formatTokenRole, parseTokenRole } from '#policies/token-role.ts';
import { durationMs, oneOf, text } from '#runtime/option-kinds.ts';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';

const output = {
  parse: oneOf('table', 'json'),
  placeholder: 'form',
  default: 'table',
  description: 'table or json',
} as const;

const tokenSchema = z.looseObject({
  accessor: z.string(),
  roles: z.array(z.string()),
  description: z.string(),
  createdAt: z.string(),
  createdBy: z.string(),
  expiresAt: z.string().nullable(),
  expired: z.boolean(),
});
const madeSchema = tokenSchema.extend({ secret: z.string() });

/** `selvedge token create|list|show|revoke`: who may do what at the catalog. */
export function defineTokenCommands(program: Command): void {
  const token = program.command('token').description('tokens of the catalog: who may do what');
  defineCommand(token, {
    name: 'create',
    summary: 'make a token; its secret is printed once, on standard output',
    options: {
      ...catalogClientOptions,
      role: {
        parse: (value: string) => formatTokenRole(parseRole(value)),
        placeholder: 'role',
        repeatable: true,
        description:
          'operator, reader, intentions:NAME or service:NAME; NAME is a service, or a prefix with one trailing *',
      },
      expiresAfter: {
        parse: durationMs,
        placeholder: 'duration',
        description: 'how long it is good; without: until it is revoked',
      },
      description: { parse: text, placeholder: 'text', description: 'what it is for' },
      output,
    },
    async run(options) {
      if (options.role.length === 0) throw new MeshError('SLV-1003', 'a token needs a role (--role)');
      const made = await catalogClient(options).json('POST', '/v1/mesh/tokens', madeSchema, {
        roles: options.role,
        ...(options.expiresAfter === undefined ? {} : { expiresAfterSeconds: Math.ceil(options.expiresAfter / 1_000) }),
        ...(options.description === undefined ? {} : { description: options.description }),
      });
      if (options.output === 'json') {
        printJson(made);
        return;
      }
      process.stdout.write(`${made.secret}\n`);
      const until = made.expiresAt === null ? 'until it is revoked' : `until ${made.expiresAt}`;
      say(`token ${made.accessor}: ${made.roles.join(', ')}; good ${until}`);
    },
  });
  defineCommand(token, {
    name: 'list',
    summary: 'all tokens by their accessors; never their secrets',
    options: { ...catalogClientOptions, output },
    async run(options) {
      const tokens = await catalogClient(options).json('GET', '/v1/mesh/tokens', z.array(tokenSchema));
      const columns = ['accessor', 'roles', 'expiresAt', 'createdAt', 'createdBy', 'description'];
      if (options.output === 'json') printJson(tokens);
      else printRows(tokens.map(asRow), columns, 'table');
    },
  });
  defineCommand(token, {
    name: 'show',
    summary: 'the token with this ACCESSOR',
    positional: ['<accessor>'],
    options: catalogClientOptions,
    async run(options, [accessor = '']) {
      printJson(await catalogClient(options).json('GET', path(accessor), tokenSchema));
    },
  });
  defineCommand(token, {
    name: 'revoke',
    summary: 'end the token with this ACCESSOR, and what is open under it, at every catalog of the store',
    positional: ['<accessor>'],
    options: catalogClientOptions,
    async run(options, [accessor = '']) {
      await catalogClient(options).send('DELETE', path(accessor));
      say(`token ${accessor} revoked`);
    },
  });
}

function asRow(token: z.infer<typeof tokenSchema>) {
  return {
    ...token,
    expiresAt: token.expired ? `expired ${token.expiresAt}` : token.expiresAt,
    description: token.description === '' ? undefined : token.description,
  };
}

/** A wrong role is a wrong use of the command, whatever it would be to the API. */
function parseRole(value: string) {
  try {
    return parseTokenRole(value);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    throw new MeshError('SLV-1002', `${error.message} ${error.entry.fix}`, { cause: error });
  }
}

function path(accessor: string): string {
  return `/v1/mesh/tokens/${encodeURIComponent(accessor)}`;
}
