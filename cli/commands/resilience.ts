import type { Command } from 'commander';
import { z } from 'zod';
import { catalogClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { readInput } from '../input-file.ts';
import { printJson, say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';

/** `selvedge resilience write|read|delete`: timeouts, retries, breaker of the calls to one service. */
export function defineResilienceCommands(program: Command): void {
  const resilience = program
    .command('resilience')
    .description('how a service is called: timeouts, retries, breaker, balancing');
  defineCommand(resilience, {
    name: 'write',
    summary:
      'store the policy in FILE (JSON or YAML, - for standard input) for SERVICE; what it leaves out has its default',
    positional: ['<service>', '<file>'],
    options: catalogClientOptions,
    async run(options, [service = '', file = '']) {
      await catalogClient(options).send('PUT', path(service), readInput(file));
      say(`resilience of ${service} stored`);
    },
  });
  defineCommand(resilience, {
    name: 'read',
    summary: 'show the policy of SERVICE',
    positional: ['<service>'],
    options: catalogClientOptions,
    async run(options, [service = '']) {
      printJson(await catalogClient(options).json('GET', path(service), z.looseObject({})));
    },
  });
  defineCommand(resilience, {
    name: 'delete',
    summary: 'back to the defaults for SERVICE',
    positional: ['<service>'],
    options: catalogClientOptions,
    async run(options, [service = '']) {
      await catalogClient(options).send('DELETE', path(service));
      say(`resilience of ${service} removed`);
    },
  });
}

function path(service: string): string {
  return `/v1/mesh/resilience/${encodeURIComponent(service)}`;
}
