import type { Command } from 'commander';
import { oneOf, onOff, serviceUrl, text } from '#runtime/option-kinds.ts';
import { catalogClientOptions } from '../command-options.ts';
import { importConfigEntries } from '../consul-import/config-entries.ts';
import { ConsulSource } from '../consul-import/consul-source.ts';
import { ImportReport, type ItemFate } from '../consul-import/import-report.ts';
import { importIntentions } from '../consul-import/intentions.ts';
import { importKeyValues } from '../consul-import/key-values.ts';
import { importRegistrations } from '../consul-import/registrations.ts';
import { defineCommand } from '../define-command.ts';
import { exitCode } from '../exit-code.ts';
import { printJson, say } from '../output.ts';
import { catalogClient } from './catalog-client.ts';

const form = {
  parse: oneOf('table', 'json'),
  placeholder: 'form',
  default: 'table',
  description: 'table or json',
} as const;

/** `selvedge import consul`. */
export function defineImportCommands(program: Command): void {
  const importing = program.command('import').description('take over what another system holds');
  defineCommand(importing, {
    name: 'consul',
    summary:
      'what would be taken over from a running Consul: intentions and config entries; with --apply, take it over. Exit code 3 where something could not be taken',
    options: {
      ...catalogClientOptions,
      from: { parse: serviceUrl, placeholder: 'url', required: true, description: "Consul's HTTP API" },
      fromTokenFile: { parse: text, placeholder: 'file', description: 'file with a token of Consul that may read' },
      fromCaFile: {
        parse: text,
        placeholder: 'file',
        description: "PEM roots of Consul's certificate, beside those of the platform",
      },
      services: {
        parse: onOff,
        description: 'also what was registered at the catalog itself, on nodes without an agent',
      },
      kv: { parse: onOff, description: 'also the KV' },
      apply: { parse: onOff, description: 'write it; without, nothing is written' },
      output: form,
    },
    async run(options) {
      const source = new ConsulSource({
        url: options.from.replace(/\/+$/, ''),
        tokenFile: options.fromTokenFile,
        caFile: options.fromCaFile,
      });
      const target = catalogClient(options);
      const apply = options.apply === true;
      const report = new ImportReport();
      await importConfigEntries(source, target, apply, report);
      if (options.services === true) await importRegistrations(source, target, apply, report);
      if (options.kv === true) await importKeyValues(source, target, apply, report);
      // Last: what they need, protocols and token providers, is there then.
      await importIntentions(source, target, apply, report);
      if (options.output === 'json') printJson({ applied: apply, items: report.items, notes: report.notes });
      else print(report, apply);
      process.exitCode = report.count('left') > 0 ? exitCode.no : exitCode.ok;
    },
  });
}

const signs: Readonly<Record<Exclude<ItemFate, 'same'>, string>> = { new: '+', changed: '~', left: '!' };

function print(report: ImportReport, applied: boolean): void {
  for (const { what, fate, reason } of report.items) {
    if (fate !== 'same') process.stdout.write(`${signs[fate]} ${what}${reason === undefined ? '' : `: ${reason}`}\n`);
  }
  for (const note of report.notes) say(`note: ${note}`);
  const [added, changed, same, left] = (['new', 'changed', 'same', 'left'] as const).map((fate) => report.count(fate));
  say(
    `${added} ${applied ? 'added' : 'to add'}, ${changed} ${applied ? 'changed' : 'to change'}, ${same} the same, ${left} not taken over`,
  );
  if (!applied) say('nothing is written without --apply');
}
