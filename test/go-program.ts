import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Programs in Go that tests run, each a folder here with its sources, go.mod and go.sum: built once, kept in .cache/. */
export const goPrograms = {
  'consul-template': {
    folder: 'clients/consul-template',
    // The folder has no sources: a package of its module's dependencies is built.
    of: 'github.com/hashicorp/consul-template',
  },
  'go-clients': { folder: 'clients/go', of: '.' },
  differential: { folder: 'differential/go', of: '.' },
  linearizability: { folder: 'linearizability/go', of: '.' },
  workload: { folder: 'workload-api/go', of: '.' },
} as const;

const run = promisify(execFile);
const cache = join(import.meta.dirname, '..', '.cache', 'go');

/** Why no program can be built here: Go is absent or older than their go.mod say. undefined: they can. */
export async function whyNoGo(): Promise<string | undefined> {
  try {
    const { stdout } = await run('go', ['env', 'GOVERSION'], { cwd: '/' });
    const [, major = '0', minor = '0'] = /^go(\d+)\.(\d+)/.exec(stdout) ?? [];
    return Number(major) > 1 || Number(minor) >= 24 ? undefined : `Go 1.24 is needed, this is ${stdout.trim()}`;
  } catch {
    return 'Go is not installed';
  }
}

/** @param timeoutMs 0: none. @returns the path of the program */
export async function buildGo(name: keyof typeof goPrograms, timeoutMs = 170_000): Promise<string> {
  const { folder, of } = goPrograms[name];
  const source = join(import.meta.dirname, folder);
  const hash = createHash('sha256');
  for (const file of readdirSync(source).sort()) hash.update(readFileSync(join(source, file)));
  const program = join(cache, `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(program)) return program;
  mkdirSync(cache, { recursive: true });
  const env = { ...process.env, GOCACHE: join(cache, 'build'), CGO_ENABLED: '0' };
  // Test files run beside each other: neither may find what the other has half written.
  const built = `${program}.${process.pid}`;
  // One at a time: at first each would compile the same standard library.
  const [command, ...before] = process.platform === 'linux' ? ['flock', join(cache, 'lock'), 'go'] : ['go'];
  await run(command, [...before, 'build', '-trimpath', '-o', built, of], { cwd: source, env, timeout: timeoutMs });
  renameSync(built, program);
  return program;
}
