import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { firstPassedOn, ListeningSockets } from '#runtime/listening-sockets.ts';
import type { Logger } from '#runtime/logging.ts';

/** How long a successor may take until it serves. */
const startTimeoutMs = 60_000;

/** What a process is started with by systemd (sd_listen_fds(3)) or by the one that it succeeds. What it starts itself sees none of it. */
export function takeSockets(environment: NodeJS.ProcessEnv): ListeningSockets {
  const { LISTEN_FDS: count = '0', LISTEN_PID: pid } = environment;
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) delete environment[name];
  const succeeds = process.channel !== undefined;
  // A predecessor can't know the pid beforehand.
  const isForUs = pid === String(process.pid) || (pid === undefined && succeeds);
  return new ListeningSockets(isForUs && /^\d{1,4}$/.test(count) ? Number(count) : 0, succeeds);
}

/** Tells who waits for it that this process serves: the one that it succeeds, and systemd (Type=notify), whose main process it is now. */
export function tellServing(environment: NodeJS.ProcessEnv, log: Logger): void {
  if (environment['NOTIFY_SOCKET'] !== undefined) {
    execFile('systemd-notify', [`--pid=${process.pid}`, '--ready'], (err) => {
      if (err !== null) log.error({ err }, 'systemd was not told that this process serves');
    });
  }
  if (process.channel === undefined) return;
  process.send?.(process.pid);
  process.disconnect?.();
}

/**
 * Started as a job of a shell that ends at once, the successor is nobody's child but the supervisor's (systemd; else process 1), as its predecessor was: only a parent is told when a
 * process ends. Were it a child of its predecessor, one that breaks down while that still drains would be missed, and not started again.
 */
const asOrphan = '"$0" "$@" &';

/**
 * Starts this process anew, as it was started, with its listening sockets: the newest version that stands in its place. Resolves with its pid once it serves.
 *
 * @param descriptors sockets, whose numbers may change
 * @param kept descriptors whose numbers are in the configuration
 * @throws MeshError SLV-1011 when it ends before, or takes too long: it is gone then
 */
export async function startSuccessor(
  descriptors: readonly number[],
  kept: readonly number[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  const passed: (number | 'ignore')[] = [];
  for (const fd of kept) passed[fd - firstPassedOn] = fd;
  const rest = [...descriptors];
  for (let index = 0; rest.length > 0 || index < passed.length; index++) passed[index] ??= rest.shift() ?? 'ignore';
  const command = join(import.meta.dirname, '..', 'bin', 'selvedge');
  const shell = spawn('/bin/sh', ['-c', asOrphan, command, ...process.argv.slice(2)], {
    stdio: ['ignore', 'inherit', 'inherit', ...passed, 'ipc'],
    env: { ...environment, LISTEN_FDS: String(passed.length) },
    detached: true, // a group of its own, by which it can be ended before its pid is known
  });
  try {
    return await served(shell);
  } catch (error) {
    endGroup(shell.pid);
    throw error;
  } finally {
    shell.unref();
  }
}

/** @returns the pid of the one that serves */
function served(shell: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const fail = (reason: string): void => reject(new MeshError('SLV-1011', `the new process ${reason}`));
  const timer = setTimeout(() => fail(`did not serve within ${startTimeoutMs / 1_000} s`), startTimeoutMs);
  shell.once('error', (error) => fail(`was not started: ${error.message}`));
  shell.once('disconnect', () => fail('ended before it served; its log has the reason'));
  shell.once('message', (message) => {
    if (typeof message === 'number') resolve(message);
  });
  return promise.finally(() => {
    clearTimeout(timer);
    shell.removeAllListeners();
  });
}

function endGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}
