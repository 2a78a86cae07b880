import type { Command } from 'commander';
import { type RotationView, rotationViewSchema } from '#policies/wire/rotation-api.ts';
import { oneOf, onOff } from '#runtime/option-kinds.ts';
import { identityClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import { identityClient, outputOption } from './identity-client.ts';

const targetOf = oneOf('issuing', 'root');
const path = '/v1/identity/rotation';

/** `selvedge identity rotate issuing|root`, `… rotation status`, `… taint`. */
export function defineRotation(identity: Command): void {
  defineCommand(identity, {
    name: 'rotate',
    summary: 'replace the issuing CA or the root, in the background: rotation status shows how it goes',
    positional: ['<issuing|root>'],
    options: {
      ...identityClientOptions,
      force: {
        parse: onOff,
        default: 'false',
        description: 'go on with the rotation under way without those that it waits for',
      },
      compromised: {
        parse: onOff,
        default: 'false',
        description:
          'the key of the root may be known to others: nothing leads from it to the new one, nodes that are away join again',
      },
      output: outputOption,
    },
    async run(options, [what = '']) {
      const { force, compromised } = options;
      const body = { target: targetOf(what), force, compromised };
      show(await identityClient(options).json('POST', path, rotationViewSchema, body), options.output);
    },
  });
  defineCommand(identity, {
    name: 'taint',
    summary: 'renew all SVIDs of the old CA now; with no rotation under way, all SVIDs',
    options: { ...identityClientOptions, output: outputOption },
    async run(options) {
      show(await identityClient(options).json('POST', `${path}/taint`, rotationViewSchema), options.output);
    },
  });
  const rotation = identity.command('rotation').description('the replacement of the CA');
  defineCommand(rotation, {
    name: 'status',
    summary: 'where it stands, and whom it waits for',
    options: { ...identityClientOptions, output: outputOption },
    async run(options) {
      show(await identityClient(options).json('GET', path, rotationViewSchema), options.output);
    },
  });
}

function show(view: RotationView, form: 'table' | 'json'): void {
  if (form === 'json') {
    printJson(view);
    return;
  }
  const short = (id: string | undefined): string | undefined => id?.slice(0, 16);
  printRows(
    [
      {
        state: view.state,
        target: view.target,
        root: short(view.active.root),
        issuing: short(view.active.issuing),
        'next root': short(view.next?.root),
        'old root': short(view.old?.root),
        'root ends': view.rootNotAfter,
      },
    ],
    ['state', 'target', 'root', 'issuing', 'next root', 'old root', 'root ends'],
    'table',
  );
  if (view.takeover !== undefined) say(`takeover: ${view.takeover.from} -> ${view.takeover.to}`);
  const { waitingFor } = view;
  if (waitingFor !== undefined) {
    const { missing, missingCount } = waitingFor;
    const names =
      missingCount === 0
        ? ''
        : `: ${missing.join(', ')}${missingCount > missing.length ? ` and ${missingCount - missing.length} more` : ''}`;
    say(`waits: ${waitingFor.reason}${names}`);
    if (waitingFor.overdue)
      say(`the deadline has passed; to go on without them: selvedge identity rotate ${view.target ?? 'root'} --force`);
  }
  for (const warning of view.warnings) say(`warning: ${warning}`);
}
