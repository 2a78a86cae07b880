import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connects } from './loopback-ports.ts';

/** How long a process may take to listen, or to end when asked to. */
const startDeadlineMs = 20_000;
const stopDeadlineMs = 3_000;

/** A process of the benchmark: its output goes to a file. */
export interface BenchProcess {
  readonly name: string;
  readonly pid: number;
  readonly outputFile: string;
  /** Fails, with the end of the output, when the process has ended. */
  assertAlive(): void;
  /** Waits for its end. @returns its output @throws Error when it ended with anything but 0 */
  finished(): Promise<string>;
  stop(): Promise<void>;
}

/** Starts processes and sees to it that none outlives the benchmark. */
export interface ProcessGroup {
  /** Directory for configurations and outputs. */
  readonly directory: string;
  start(name: string, file: string, args: readonly string[]): BenchProcess;
  stopAll(): Promise<void>;
}

/** @param directory a temporary directory; exists */
export function createProcessGroup(directory: string): ProcessGroup {
  const running = new Set<BenchProcess>();
  let count = 0;
  let closed = false;
  return {
    directory,
    start(name, file, args) {
      if (closed) throw new Error(`${name} not started: the benchmark is ending`);
      const outputFile = join(directory, `${++count}-${name}.out`);
      const output = openSync(outputFile, 'a');
      const child = spawn(file, args, { stdio: ['ignore', output, output], env: plainEnvironment() });
      closeSync(output);
      const started = track(name, child, outputFile, () => running.delete(started));
      running.add(started);
      return started;
    },
    async stopAll() {
      closed = true;
      await Promise.all([...running].map((one) => one.stop()));
    },
  };
}

/** Without SELVEDGE_* settings of whoever runs the benchmark: it measures the defaults. */
function plainEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env);
  return Object.fromEntries(entries.filter(([name]) => name === 'SELVEDGE_NODE' || !name.startsWith('SELVEDGE_')));
}

function track(name: string, child: ChildProcess, outputFile: string, ended: () => void): BenchProcess {
  let failure: string | undefined;
  const end = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      failure = error.message;
      resolve();
    });
    child.once('exit', (code, signal) => {
      failure = `ended with ${signal ?? code}`;
      ended();
      resolve();
    });
  });
  return {
    name,
    pid: child.pid ?? 0,
    outputFile,
    assertAlive() {
      if (child.pid === undefined || failure !== undefined) {
        const tail = readFileSync(outputFile, 'utf8').slice(-2_000);
        throw new Error(`${name} ${failure ?? 'did not start'}; the end of ${outputFile}:\n${tail}`);
      }
    },
    async finished() {
      await end;
      const output = readFileSync(outputFile, 'utf8');
      if (child.exitCode !== 0) throw new Error(`${name} ${failure}: ${output.slice(-2_000)}`);
      return output;
    },
    async stop() {
      if (child.pid === undefined || failure !== undefined) return;
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), stopDeadlineMs);
      await end;
      clearTimeout(force);
    },
  };
}

/** Waits until `condition` holds; fails early when one of `processes` ends, and at the deadline with `what`. */
export async function waitUntil(
  what: string,
  processes: readonly BenchProcess[],
  condition: () => boolean | Promise<boolean>,
  timeoutMs = startDeadlineMs,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    for (const one of processes) one.assertAlive();
    if (Date.now() > deadline) {
      const outputs = processes.map((one) => `${one.name}: ${readFileSync(one.outputFile, 'utf8').slice(-1_000)}`);
      throw new Error(`${what} did not happen within ${timeoutMs} ms\n${outputs.join('\n')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until a process listens on a loopback port. */
export async function waitForPort(port: number, owner: BenchProcess): Promise<void> {
  await waitUntil(`${owner.name} listening on ${port}`, [owner], () => connects(port));
}
