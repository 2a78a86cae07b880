import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { catalogSuite } from './catalog/suite.ts';
import { hostileSuite } from './hostile/suite.ts';
import { identitySuite } from './identity/suite.ts';
import { pictureOf } from './picture.ts';
import { createProcessGroup } from './processes.ts';
import { proxySuite } from './proxy/suite.ts';
import { rowsOf, tableOf } from './report.ts';
import type { Suite } from './suite.ts';

const suites: Readonly<Record<string, Suite>> = {
  proxy: proxySuite,
  identity: identitySuite,
  catalog: catalogSuite,
  hostile: hostileSuite,
};

const usage = `npm run bench -- SUITE [--json FILE] [--svg FILE] [--rounds 7] [--seconds 5] [--quick] [--case NAME ...] [--subject NAME ...]
  suites: ${Object.keys(suites).join(', ')}
  The defaults are the honest measurement; --quick is one round of one second of a few cases, to see that all works.`;

interface Command {
  readonly name: string;
  readonly suite: Suite;
  readonly jsonFile: string | undefined;
  readonly svgFile: string | undefined;
  readonly rounds: number;
  readonly seconds: number;
  readonly cases: readonly string[];
  readonly subjects: readonly string[];
}

function parseCommand(args: readonly string[]): Command {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'string' },
      svg: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      case: { type: 'string', multiple: true, default: [] },
      subject: { type: 'string', multiple: true, default: [] },
    },
  });
  const { quick } = values;
  const [name, ...rest] = positionals;
  const suite = name === undefined ? undefined : suites[name];
  if (name === undefined || suite === undefined || rest.length > 0) throw new Error('one suite must be named');
  return {
    name,
    suite,
    jsonFile: values.json,
    svgFile: values.svg,
    rounds: wholeNumber('--rounds', values.rounds ?? (quick ? '1' : '7')),
    seconds: wholeNumber('--seconds', values.seconds ?? (quick ? '1' : '5')),
    cases: quick && values.case.length === 0 ? suite.quickCases : known('--case', values.case, suite.caseNames),
    subjects: known('--subject', values.subject, suite.subjectNames),
  };
}

function wholeNumber(flag: string, text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new Error(`${flag} takes a whole number from 1 to 999, not "${text}"`);
  return Number(text);
}

function known(flag: string, named: readonly string[], names: readonly string[]): readonly string[] {
  const unknown = named.find((one) => !names.includes(one));
  if (unknown !== undefined) throw new Error(`${flag} ${unknown}: there are ${names.join(', ')}`);
  return named;
}

/** Runs a suite in a temporary directory that goes away, whatever happens. @returns the exit code */
async function runSuite(command: Command): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-'));
  const processes = createProcessGroup(directory);
  const cleanUp = async () => {
    await processes.stopAll();
    rmSync(directory, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void cleanUp().then(() => process.exit(signal === 'SIGINT' ? 130 : 143)));
  }
  try {
    const checkout = dirname(dirname(fileURLToPath(import.meta.url)));
    const tell = (line: string) => console.log(line);
    const { samples, failures, missing } = await command.suite.run({ ...command, checkout, processes, tell });
    console.log(
      `\nmedian (lowest-highest) of ${command.rounds} rounds of ${command.seconds} s; xN: against the best peer, above 1 is better\n`,
    );
    console.log(tableOf(samples));
    for (const failure of failures) console.error(`\nFAILED ${failure}`);
    for (const peer of missing) console.error(`\nMISSING ${peer}: could not be installed, so it was not compared`);
    const rows = rowsOf(command.name, samples);
    if (command.jsonFile !== undefined) writeFileSync(command.jsonFile, `${JSON.stringify(rows, null, 2)}\n`);
    if (command.svgFile !== undefined) {
      const day = new Date().toISOString().slice(0, 10);
      const caption = `npm run bench -- ${command.name}: median of ${command.rounds} rounds of ${command.seconds} s, ${cpus().length} cores, ${day}`;
      writeFileSync(command.svgFile, pictureOf(rows, ['requests/s', 'MB/s', 'leaves/s'], caption));
    }
    return failures.length > 0 || (missing.length > 0 && process.env['CI'] === 'true') ? 1 : 0;
  } finally {
    await cleanUp();
  }
}

function commandOrUsage(): Command | undefined {
  try {
    return parseCommand(process.argv.slice(2));
  } catch (error) {
    console.error(`bench: ${messageOf(error)}\n${usage}`);
    return undefined;
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const command = commandOrUsage();
process.exitCode = 2;
if (command !== undefined) {
  process.exitCode = await runSuite(command).catch((error: unknown) => {
    console.error(`bench: ${messageOf(error)}`);
    return 1;
  });
}
