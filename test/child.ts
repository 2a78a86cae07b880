import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { waitFor } from './wait-for.ts';

const root = join(import.meta.dirname, '..');

/** With what Node made of the sources kept between starts: a process is up in half the time. */
const startEnvironment = { NODE_COMPILE_CACHE: join(root, '.cache', 'compiled'), ...process.env };

/** Whatever ends this process, its children do not outlive it. */
const alive = new Set<Child>();
process.once('exit', () => {
  for (const child of alive) child.signal('SIGKILL');
});

/** A process of the demo or of a scenario. Its standard output is read as `key value` lines; both outputs go to a log file. */
export class Child {
  readonly name: string;
  readonly logFile: string;
  readonly #process: ChildProcess;
  readonly #facts = new Map<string, string>();
  #ended: string | undefined;
  /** Its own, then those of its successors. */
  readonly #pids: number[] = [];

  constructor(
    name: string,
    command: string,
    args: readonly string[],
    directory: string,
    options: { readonly environment?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
  ) {
    this.name = name;
    this.logFile = join(directory, `${name}.log`);
    this.#process = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...startEnvironment, ...options.environment },
      cwd: options.cwd ?? root,
    });
    alive.add(this);
    if (this.#process.pid !== undefined) this.#pids.push(this.#process.pid);
    const log = createWriteStream(this.logFile, { flags: 'a' });
    this.#process.stderr?.pipe(log, { end: false });
    if (this.#process.stdout !== null) {
      createInterface({ input: this.#process.stdout }).on('line', (line) => {
        const [key = '', ...rest] = line.split(' ');
        const name = rest.length > 1 ? `${key} ${rest[0]}` : key;
        this.#facts.set(name, rest.at(-1) ?? '');
        log.write(`${line}\n`);
      });
    }
    // 'close', not 'exit': its last words have been read then.
    this.#process.once('close', (code, signal) => this.#onEnd(signal ?? `exit code ${code}`, log));
    this.#process.once('error', (error) => this.#onEnd(error.message, log));
  }

  get pid(): number | undefined {
    return this.#pids.at(-1);
  }

  /** Processes before the present one that have not ended yet. */
  get predecessors(): number {
    return this.#pids.slice(0, -1).filter(isAlive).length;
  }

  /** Has it start a successor (SIGUSR2), and waits until that serves. It is the one that is meant from here on; those before it end when they are done. */
  async handOver(timeoutMs = 60_000): Promise<void> {
    const from = this.log.length;
    this.signal('SIGUSR2');
    const outcome = await waitFor(
      `${this.name} to hand over (log: ${this.logFile})`,
      () => /"pid":(\d+).*"the successor serves"|"no successor/.exec(this.log.slice(from)) ?? undefined,
      timeoutMs,
    );
    if (outcome[1] === undefined) throw new Error(`${this.name} has no successor:\n${this.log.slice(from)}`);
    const pid = Number(outcome[1]);
    this.#pids.push(pid);
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  /** `exit code N` or the signal that ended it; undefined while it runs. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** All that it and its namesakes before it have written. */
  get log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /** A `key value` line that the process printed, once it has. Throws when it ends without, or at the deadline. */
  async fact(key: string, timeoutMs = 60_000): Promise<string> {
    const known = () => this.#facts.has(key) || this.#ended !== undefined;
    await waitFor(`${this.name} to print "${key}" (log: ${this.logFile})`, known, timeoutMs);
    const value = this.#facts.get(key);
    if (value !== undefined) return value;
    throw new Error(`${this.name} ended with ${this.#ended} before it printed "${key}":\n${this.log.slice(-2_000)}`);
  }

  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void {
    if (this.#pids.length <= 1) {
      this.#process.kill(signal);
      return;
    }
    const meant = signal === 'SIGKILL' ? this.#pids : this.#pids.slice(-1);
    for (const pid of meant.filter(isAlive)) process.kill(pid, signal);
  }

  /** Waits until it has ended by itself. @returns how, as `ended` */
  async whenEnded(timeoutMs = 60_000): Promise<string> {
    return waitFor(`${this.name} to end (log: ${this.logFile})`, () => this.#ended, timeoutMs);
  }

  /** Ends it and waits until it is gone. */
  async end(signal: NodeJS.Signals = 'SIGTERM', patienceMs = 20_000): Promise<void> {
    if (!this.running) return;
    this.signal(signal);
    try {
      await this.whenEnded(patienceMs);
    } catch {
      this.signal('SIGKILL'); // it had its time; nothing may stay behind
      await this.whenEnded(30_000);
    }
  }

  #onEnd(how: string, log: NodeJS.WritableStream): void {
    if (this.#ended !== undefined) return;
    alive.delete(this);
    log.end(() => {
      this.#ended = how;
    });
  }
}

/** Not so for one that has ended and that nobody has asked about yet. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
