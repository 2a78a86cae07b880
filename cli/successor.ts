import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { firstPassedOn, ListeningSockets } from '#runtime/listening-sockets.ts';
import type { Logger } from '#runtime/logging.ts';

/** How long a successor may take until it serves. */
const startTimeoutMs = 60_000;
const serves = 'serves';

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
  process.send?.(serves);
  process.disconnect?.();
}

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
  const child = spawn(command, process.argv.slice(2), {
    stdio: ['inherit', 'inherit', 'inherit', ...passed, 'ipc'],
    env: { ...environment, LISTEN_FDS: String(passed.length) },
  });
  try {
    await served(child);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  child.unref();
  return child.pid ?? 0;
}

function served(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (reason: string): void => reject(new MeshError('SLV-1011', `the new process ${reason}`));
  const timer = setTimeout(() => fail(`did not serve within ${startTimeoutMs / 1_000} s`), startTimeoutMs);
  child.once('error', (error) => fail(`was not started: ${error.message}`));
  child.once('exit', (code, signal) => fail(`ended with ${signal ?? `exit code ${code}`}; its log has the reason`));
  child.once('message', (message) => {
    if (message === serves) resolve();
  });
  return promise.finally(() => {
    clearTimeout(timer);
    child.removeAllListeners();
  });
}
