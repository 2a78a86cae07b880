import { MeshError } from '#policies/errors/mesh-error.ts';
import { nearestWord } from '#policies/nearest-word.ts';

/**
 * Configuration of every command: flag over SELVEDGE_* over YAML file over default. Each option is declared once, as data; its flag (`--http-addr`),
 * variable (`SELVEDGE_HTTP_ADDR`) and key (`http-addr`) follow from its name (`httpAddr`). All faults are listed at once, each with its place.
 */

/** One option. `parse` turns text into the value or throws a MeshError that says what form it takes. */
export interface Option<T> {
  readonly parse: (text: string) => T;
  readonly description: string;
  /** As in `--http-addr <placeholder>`; none for a switch. */
  readonly placeholder?: string;
  /** Text, parsed like any other; shown in --help. */
  readonly default?: string;
  /** May be given more than once; the value is an array. */
  readonly repeatable?: boolean;
  readonly required?: boolean;
  /** Makes the value of what stands in the configuration file, a list or a mapping: such an option has neither flag nor variable. */
  readonly fromFile?: (value: unknown) => T | Promise<T>;
}

/** Options by name. */
export type OptionSet = Readonly<Record<string, Option<unknown>>>;

/** The values of a set: `T` where there is a default or the option is required, `T[]` where it repeats, else `T | undefined`. */
export type OptionValues<S extends OptionSet> = {
  readonly [K in keyof S]: S[K] extends Option<infer T>
    ? S[K] extends { repeatable: true }
      ? readonly T[]
      : S[K] extends { default: string } | { required: true }
        ? T
        : T | undefined
    : never;
};

/** `httpAddr` -> `http-addr`. */
export function flagName(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `httpAddr` -> `SELVEDGE_HTTP_ADDR`. */
export function variableName(option: string): string {
  return `SELVEDGE_${flagName(option).replaceAll('-', '_').toUpperCase()}`;
}

/** Variables that are not options of a command but are read elsewhere. */
const otherVariables = [
  'SELVEDGE_NODE',
  'SELVEDGE_BAO',
  'SELVEDGE_ENVOY',
  'SELVEDGE_H2SPEC',
  'SELVEDGE_ETCD',
  'SELVEDGE_CONFIG',
];

/** Where one option's text came from, for error messages. */
export interface Found {
  readonly texts: readonly string[];
  readonly place: string;
  /** For options that come from the file only: the value in it. */
  readonly structure?: unknown;
}

/**
 * Resolves one command's configuration.
 *
 * @param options     the command's options
 * @param flags       as given on the command line, by option name: text, list of text, or true
 * @param environment usually process.env
 * @param knownNames  option names of all commands: a SELVEDGE_* variable that is none of them is refused
 * @throws MeshError SLV-1001, SLV-1002 or SLV-1003; the message lists every fault, one a line
 */
export async function resolveConfiguration<S extends OptionSet>(
  options: S,
  flags: Readonly<Record<string, string | readonly string[] | boolean | undefined>>,
  environment: Readonly<Record<string, string | undefined>>,
  knownNames: readonly string[],
): Promise<OptionValues<S>> {
  const faults: MeshError[] = [];
  checkVariables(environment, knownNames, faults);
  const configFile = typeof flags['config'] === 'string' ? flags['config'] : environment['SELVEDGE_CONFIG'];
  const file = configFile === undefined ? undefined : await fromConfigurationFile(configFile, options, faults);
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    const found =
      fromFlag(name, flags) ?? fromVariable(name, option, environment) ?? file?.get(name) ?? fromDefault(option);
    values[name] = await read(name, option, found, faults);
  }
  const [first, ...rest] = faults;
  if (first !== undefined) {
    if (rest.length === 0) throw first;
    throw new MeshError(first.code, faults.map((fault) => fault.message).join('\n'));
  }
  return values as OptionValues<S>;
}

/** The reader of YAML is loaded by a process that has a file. */
async function fromConfigurationFile(path: string, options: OptionSet, faults: MeshError[]) {
  const { readConfigurationFile } = await import('./configuration-file.ts');
  return readConfigurationFile(path, options, faults);
}

function fromFlag(
  name: string,
  flags: Readonly<Record<string, string | readonly string[] | boolean | undefined>>,
): Found | undefined {
  const given = flags[name];
  if (given === undefined) return undefined;
  const texts = typeof given === 'boolean' ? [String(given)] : typeof given === 'string' ? [given] : given;
  return { texts, place: `--${flagName(name)}` };
}

function fromVariable(
  name: string,
  option: Option<unknown>,
  environment: Readonly<Record<string, string | undefined>>,
): Found | undefined {
  const text = environment[variableName(name)];
  if (text === undefined || text === '') return undefined;
  const texts = option.repeatable === true ? text.split(',').map((part) => part.trim()) : [text];
  return { texts, place: variableName(name) };
}

function fromDefault(option: Option<unknown>): Found | undefined {
  return option.default === undefined ? undefined : { texts: [option.default], place: 'default' };
}

async function read(
  name: string,
  option: Option<unknown>,
  found: Found | undefined,
  faults: MeshError[],
): Promise<unknown> {
  if (found === undefined) {
    if (option.required === true) {
      faults.push(
        new MeshError('SLV-1003', `--${flagName(name)} is needed (or ${variableName(name)}): ${option.description}`),
      );
    }
    return option.repeatable === true ? [] : undefined;
  }
  const values: unknown[] = [];
  for (const text of found.texts) {
    try {
      values.push(option.fromFile === undefined ? option.parse(text) : await option.fromFile(found.structure));
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      faults.push(new MeshError(error.code, `${found.place}: ${error.message}`, { cause: error }));
    }
  }
  return option.repeatable === true ? values : values.at(-1);
}

function checkVariables(
  environment: Readonly<Record<string, string | undefined>>,
  knownNames: readonly string[],
  faults: MeshError[],
): void {
  const known = new Set([...knownNames.map(variableName), ...otherVariables]);
  for (const variable of Object.keys(environment)) {
    if (!variable.startsWith('SELVEDGE_') || known.has(variable)) continue;
    faults.push(unknownOption(`environment variable ${variable}`, variable, [...known]));
  }
}

/** An option that there is not, with the nearest that there is. */
export function unknownOption(what: string, word: string, known: readonly string[]): MeshError {
  const nearest = nearestWord(word, known);
  return new MeshError('SLV-1001', `unknown ${what}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`);
}
