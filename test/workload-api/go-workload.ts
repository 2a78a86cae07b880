import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { buildGo } from '../go-program.ts';
import { waitFor } from '../wait-for.ts';

/** Builds the workload in test/workload-api/go, which has its SVIDs by go-spiffe. @returns the path of the program */
export function buildGoWorkload(): Promise<string> {
  return buildGo('workload');
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
  line(pattern: RegExp, timeoutMs = 30_000, from = 0): Promise<string> {
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
