import type { Command } from 'commander';
import { MeshError } from '#policies/errors/mesh-error.ts';
import {
  flagName,
  type Option,
  type OptionSet,
  type OptionValues,
  resolveConfiguration,
} from '#runtime/configuration.ts';
import { allOptionNames } from './option-names.ts';

/** A leaf of the command tree. */
export interface CommandDefinition<S extends OptionSet> {
  readonly name: string;
  readonly summary: string;
  /** Positional arguments, `<required>` or `[optional]`, by name. */
  readonly positional?: readonly string[];
  readonly options: S;
  run(options: OptionValues<S>, positional: readonly string[], environment: NodeJS.ProcessEnv): Promise<void>;
}

/** Hangs a command into the tree. Its flags are made of the options; values are resolved by runtime/configuration.ts, not by commander. */
export function defineCommand<S extends OptionSet>(parent: Command, definition: CommandDefinition<S>): void {
  const command = parent.command(definition.name).description(definition.summary);
  for (const argument of definition.positional ?? []) command.argument(argument);
  for (const [name, option] of Object.entries(definition.options)) {
    if (option.fromFile !== undefined) continue;
    const flags = `--${flagName(name)}${option.placeholder === undefined ? '' : ` <${option.placeholder}>`}`;
    const description = describe(option);
    if (option.repeatable === true)
      command.option(flags, description, (value: string, before: string[] = []) => [...before, value]);
    else command.option(flags, description);
  }
  command.action(async (...given: unknown[]) => {
    const positional = given
      .slice(0, definition.positional?.length ?? 0)
      .map((value) => (typeof value === 'string' ? value : ''));
    const missing = definition.positional?.find((argument, at) => argument.startsWith('<') && positional[at] === '');
    if (missing !== undefined) throw usageError(`missing required argument '${missing.slice(1, -1)}'`);
    const flags = command.opts<Record<string, string | string[] | boolean | undefined>>();
    const names = [...new Set([...allOptionNames, ...Object.keys(definition.options)])];
    const values = await resolveConfiguration(definition.options, flags, process.env, names);
    await definition.run(values, positional, process.env);
  });
}

function describe(option: Option<unknown>): string {
  const notes = [
    option.required === true ? 'needed' : undefined,
    option.repeatable === true ? 'may be repeated' : undefined,
    option.default === undefined ? undefined : `default: ${option.default}`,
  ].filter((note) => note !== undefined);
  return notes.length === 0 ? option.description : `${option.description} (${notes.join('; ')})`;
}

/** A usage error of commander's, as ours. */
export function usageError(message: string): MeshError {
  const what = message.replace(/^error: /, '');
  return new MeshError(what.startsWith('missing required argument') ? 'SLV-1003' : 'SLV-1001', what);
}
