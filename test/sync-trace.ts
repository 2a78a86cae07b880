import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTrace, type SystemCall } from './system-call-trace.ts';

const writer = new URL('./durability.fixture.ts', import.meta.url).pathname;

/**
 * Has strace write down what a store does while so many writers write, and when it says so.
 *
 * @throws Error when strace or the writers fail
 */
export function traceSyncs(directory: string, writers: number, writes: number): SystemCall[] {
  const log = join(directory, `trace-${writers}`);
  const calls = 'trace=fsync,fdatasync,write,pwrite64,sendto';
  const strace = ['-f', '-y', '-s', '5000', '-e', calls, '-o', log];
  const store = [join(directory, `traced-${writers}.db`), 't', `${writers}`, `${writes}`];
  const run = spawnSync('strace', [...strace, process.execPath, writer, ...store], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`the traced writer failed: ${run.error?.message ?? run.stderr}`);
  return readTrace(readFileSync(log, 'utf8'));
}
