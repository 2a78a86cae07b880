import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { waitFor } from '../wait-for.ts';

/** The workload in test/workload-api/go, which has its SVIDs by go-spiffe: built once, kept in .cache/. */

const run = promisify(execFile);
const source = join(import.meta.dirname, 'go');
const cache = join(import.meta.dirname, '..', '..', '.cache', 'go');

/** Why the workload can't be built here: Go is absent or older than go.mod says. undefined: it can. */
export async function whyNoGo(): Promise<string | undefined> {
  try {
    const { stdout } = await run('go', ['env', 'GOVERSION'], { cwd: '/' });
    const [, major = '0', minor = '0'] = /^go(\d+)\.(\d+)/.exec(stdout) ?? [];
    return Number(major) > 1 || Number(minor) >= 24 ? undefined : `Go 1.24 is needed, this is ${stdout.trim()}`;
  } catch {
    return 'Go is not installed';
  }
}

/** @returns the path of the program */
export async function buildGoWorkload(): Promise<string> {
  const hash = createHash('sha256');
  for (const file of ['main.go', 'go.mod', 'go.sum']) hash.update(readFileSync(join(source, file)));
  const program = join(cache, `workload-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(program)) return program;
  mkdirSync(cache, { recursive: true });
  const env = { ...process.env, GOCACHE: join(cache, 'build'), CGO_ENABLED: '0' };
  await run('go', ['build', '-trimpath', '-o', program, '.'], { cwd: source, env, timeout: 150_000 });
  return program;
}

/** The program, running. */
export class GoWorkload {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;

  constructor(program: string, socketPath: string) {
    this.#process = spawn(program, [], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${socketPath}` },
    });
    const { stdout } = this.#process;
    if (stdout !== null) createInterface({ input: stdout }).on('line', (line) => this.lines.push(line));
    this.#process.once('exit', (code, signal) => this.lines.push(`ended ${signal ?? code}`));
  }

  /** Says something to it: `call URL SPIFFE-ID`, `jwt AUDIENCE`. */
  say(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** Waits for a line that it prints. @param from how many lines are not looked at */
  line(pattern: RegExp, timeoutMs = 10_000, from = 0): Promise<string> {
    return waitFor(
      `${pattern} of ${JSON.stringify(this.lines)}`,
      () => this.lines.slice(from).find((line) => pattern.test(line)),
      timeoutMs,
    );
  }

  /** Ends it, as the end of its input does. */
  async stop(): Promise<void> {
    this.#process.stdin?.end();
    await this.line(/^ended/).catch(() => this.#process.kill('SIGKILL'));
  }
}
