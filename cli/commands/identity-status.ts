import type { Command } from 'commander';
import { type IdentityStatus, identityStatusSchema } from '#policies/wire/identity-api.ts';
import { identityClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import { identityClient, outputOption } from './identity-client.ts';

/** `selvedge identity status`. */
export function defineStatus(identity: Command): void {
  defineCommand(identity, {
    name: 'status',
    summary: 'CA backend, roots, what has been issued, how long the mesh does without its CA',
    options: { ...identityClientOptions, output: outputOption },
    async run(options) {
      const status = await identityClient(options).json('GET', '/v1/identity/status', identityStatusSchema);
      if (options.output === 'json') {
        printJson(status);
        return;
      }
      const row = statusRow(status);
      printRows([row], Object.keys(row), 'table');
      if (status.processes !== undefined) showProcesses(status.processes);
    },
  });
}

/** What stands in the table, in its order: what is long comes last, and what is not there has no column. */
export function statusRow(status: IdentityStatus): Readonly<Record<string, string | number | undefined>> {
  const { backend, timeToOutageSeconds: outage, vaultTokenSeconds: token, failures = [] } = status;
  const notes = [...new Set(backend.reason === undefined ? failures : [backend.reason, ...failures])];
  return {
    trustDomain: status.trustDomain,
    datacenter: status.datacenter,
    backend: backend.kind,
    health: status.health,
    outage: outage === undefined ? undefined : inWords(outage),
    earliestExpiry: status.earliestExpiry,
    ...(token === undefined ? {} : { vaultToken: inWords(token) }),
    issued: status.issued,
    lastMinute: status.issuedLastMinute,
    refused: status.refused,
    rootPins: status.rootPins.join(),
    ...(notes.length === 0 ? {} : { note: notes.join('; ') }),
  };
}

/** `2 h 31 min`. */
function inWords(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${seconds} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Who shares the store with the process that answered. */
function showProcesses({ asOf, current, list }: NonNullable<IdentityStatus['processes']>): void {
  process.stdout.write('\n');
  const rows = list.map(({ name, self, ...rest }) => ({ ...rest, process: name, asked: self ? 'yes' : undefined }));
  printRows(rows, ['process', 'role', 'since', 'fence', 'asked'], 'table');
  if (!current) say(`processes as of ${asOf}: etcd has not been reached since`);
}
