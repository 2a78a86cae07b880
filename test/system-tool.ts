import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { ToolLookup } from './python-tool.ts';

/** A program of a Debian package. */
export interface SystemTool {
  readonly binary: string;
  /** Variable that names another one. */
  readonly variable?: string;
  /** What apt installs it by. */
  readonly debian: string;
}

/** Finds a program by its variable or on the PATH. `.ci/run` installs those that tests need. */
export async function findSystemTool({ binary, variable, debian }: SystemTool): Promise<ToolLookup> {
  const named = variable === undefined ? '' : (process.env[variable] ?? '');
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  for (const candidate of named === '' ? folders.map((folder) => join(folder, binary)) : [named]) {
    try {
      await access(candidate, constants.X_OK);
      return { path: candidate, skip: false };
    } catch {
      // not this one
    }
  }
  const reason = named === '' ? `no ${binary} on the PATH (apt-get install ${debian})` : `${named} can not be run`;
  return { path: undefined, skip: process.env['CI'] === 'true' ? false : reason, reason };
}
