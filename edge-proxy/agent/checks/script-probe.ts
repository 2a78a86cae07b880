import { spawn } from 'node:child_process';
import type { Probe, ProbeLimits } from './probe.ts';

/** A program with its arguments, run as it is: no shell reads them. */
export interface ScriptTarget {
  readonly kind: 'script';
  readonly args: readonly [program: string, ...rest: string[]];
}

/** What a script sees of the agent's environment: where programs, homes and languages are. The rest may hold secrets. */
const passedOn = /^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR)$/;

/** How long after its end the last output of a script may come. */
const outputWithinMs = 500;

/** Exit code 0 passes, 1 warns, all else is critical (Consul, Nagios). The last of what it prints is kept. Its whole process group ends with the probe. */
export function scriptProbe({ args }: ScriptTarget, { maxOutputBytes }: ProbeLimits): Probe {
  const [program, ...rest] = args;
  return async (signal) => {
    signal.throwIfAborted();
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => passedOn.test(name)));
    // A group of its own, so that what the script started can be ended with it.
    const child = spawn(program, rest, { env, shell: false, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = new Tail(maxOutputBytes);
    child.stdout.on('data', (chunk: Buffer) => output.add(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.add(chunk));
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    child.once('error', reject);
    // All of the output is there at 'close'; a grandchild that goes on holds the pipes open, and must not hold up the check.
    child.once('exit', (code) => {
      child.once('close', () => resolve(code));
      setTimeout(resolve, outputWithinMs, code).unref();
    });
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const code = await promise;
      const status = code === 0 ? 'passing' : code === 1 ? 'warning' : 'critical';
      return { status, output: output.text() };
    } finally {
      signal.removeEventListener('abort', onAbort);
      if (child.pid !== undefined) endGroup(child.pid);
      child.stdout.destroy();
      child.stderr.destroy();
    }
  };
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody of the group is left: what is wanted.
  }
}

/** The last bytes of what was added. */
class Tail {
  readonly #max: number;
  #kept = Buffer.alloc(0);
  #total = 0;

  constructor(max: number) {
    this.#max = max;
  }

  add(chunk: Buffer): void {
    this.#total += chunk.length;
    const joined = Buffer.concat([this.#kept, chunk.subarray(-this.#max)]);
    this.#kept = joined.subarray(-this.#max);
  }

  text(): string {
    const kept = this.#kept.toString();
    if (this.#total <= this.#max) return kept;
    const head = `Captured ${this.#max} of ${this.#total} bytes\n...\n`;
    // The whole stays within the bound that others rely on.
    return head + this.#kept.subarray(Math.min(head.length, this.#max)).toString();
  }
}
