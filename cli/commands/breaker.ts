import type { Command } from 'commander';
import { z } from 'zod';
import { oneOf, text } from '#runtime/option-kinds.ts';
import { defineCommand } from '../define-command.ts';
import { edgeProxyClientOptions } from '../edge-proxy-client-options.ts';
import { type OutputForm, printRows, say } from '../output.ts';
import { ServiceClient } from '../service-client.ts';

const options = {
  ...edgeProxyClientOptions,
  service: {
    parse: text,
    placeholder: 'name',
    description: 'only the calls of this service, where the proxy stands for several',
  },
  output: {
    parse: oneOf('table', 'json'),
    placeholder: 'form',
    default: 'table',
    description: 'table or json',
  },
} as const;

const breakersSchema = z.array(
  z.looseObject({
    service: z.string(),
    target: z.string(),
    endpoint: z.string(),
    state: z.enum(['closed', 'half-open', 'open']),
    forced: z.boolean(),
    forcedSeconds: z.number().optional(),
  }),
);
type Breakers = z.infer<typeof breakersSchema>;

const settings = [
  [
    'force-open',
    'refuse every call to TARGET, or to its instance ENDPOINT, until reset; what it fails over to is called',
  ],
  ['force-closed', 'let calls to TARGET, or to its instance ENDPOINT, pass whatever happens, until reset'],
  ['reset', 'have the breakers of TARGET, or of its instance ENDPOINT, decide again: closed, with an empty window'],
] as const;

/** `selvedge breaker list|force-open|force-closed|reset`: the circuit breakers of a calling proxy, by its admin API. */
export function defineBreakerCommands(program: Command): void {
  const breaker = program
    .command('breaker')
    .description('circuit breakers of the edge proxy on this host: show, force, reset');
  defineCommand(breaker, {
    name: 'list',
    summary: 'every breaker, or those of TARGET: a service, or a subset of one (v2.db)',
    positional: ['[target]'],
    options,
    async run(given, [target = '']) {
      print(await client(given).json('GET', `/breakers${query(given.service, target)}`, breakersSchema), given.output);
    },
  });
  for (const [name, summary] of settings) {
    defineCommand(breaker, {
      name,
      summary,
      positional: ['<target>', '[endpoint]'],
      options,
      async run(given, [target = '', endpoint = '']) {
        const path = `/breakers/${name}${query(given.service, target, endpoint)}`;
        const answer = await client(given).send('POST', path);
        print(breakersSchema.parse(JSON.parse(answer.body.toString('utf8'))), given.output);
        if (answer.headers['selvedge-outlives-restart'] !== 'true')
          say('this holds until the proxy restarts: it could not be written to a --data-dir; its log says more');
      },
    });
  }
}

function client({ admin }: { readonly admin: string }): ServiceClient {
  return new ServiceClient('edge-proxy', { url: admin, tokenFile: undefined, caFile: undefined });
}

function query(service: string | undefined, target: string, endpoint = ''): string {
  const asked = Object.entries({ service, target, endpoint }).filter(
    ([, value]) => value !== undefined && value !== '',
  );
  return asked.length === 0 ? '' : `?${new URLSearchParams(asked as [string, string][])}`;
}

function print(breakers: Breakers, form: OutputForm): void {
  const rows = breakers.map((one) => ({
    ...one,
    forced: one.forced ? `${ageText(one.forcedSeconds ?? 0)} ago` : 'no',
  }));
  const columns = ['service', 'target', 'endpoint', 'state', 'forced', 'calls', 'failures', 'rejected'];
  printRows(form === 'json' ? breakers : rows, columns, form);
}

/** `42s`, `3h 20m`, `5d 1h`: the two largest units that say something. */
function ageText(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join(' ');
}
