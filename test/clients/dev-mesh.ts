import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach } from 'node:test';
import { Child } from '../child.ts';

const root = join(import.meta.dirname, '..', '..');

/** `selvedge dev` for a client that was written for Consul. */
export interface DevMesh {
  /** Of the catalog and the agent, `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** `127.0.0.1:PORT` of `url`. */
  readonly address: string;
  readonly port: number;
  readonly dnsPort: number;
  readonly identityUrl: string;
  /** For files of the test; gone after it. */
  readonly directory: string;
  /** Runs a program until the tests end, in `directory`; its output is shown when one fails. */
  run(name: string, command: string, args: readonly string[]): Child;
  /** A request as curl would send it, for what the client under test does not do itself. @throws Error unless the answer is 200 */
  put(path: string, body?: unknown): Promise<void>;
}

/** Starts one for the tests of a file, or for the test that calls it, and ends it, and all that it ran, after them. */
export async function startDevMesh(): Promise<DevMesh> {
  const directory = mkdtempSync(join(tmpdir(), 'slv-client-'));
  const children: Child[] = [];
  const run = (name: string, command: string, args: readonly string[]): Child => {
    const child = new Child(name, command, args, directory, { cwd: directory });
    children.unshift(child);
    return child;
  };
  const showLogs = (t: unknown): void => {
    if (!(t instanceof Object && 'error' in t) || t.error === undefined || t.error === null) return;
    for (const child of children)
      process.stderr.write(`--- ${child.name} (${child.ended ?? 'running'})\n${child.log.slice(-4_000)}\n`);
  };
  afterEach(showLogs); // of the tests of a file
  after(async (t) => {
    showLogs(t); // of the one test that started it
    for (const child of children) await child.end();
    rmSync(directory, { recursive: true, force: true });
  });
  const any = '127.0.0.1:0';
  const dev = run('dev', join(root, 'bin', 'selvedge'), [
    ...['dev', '--http-addr', any, '--dns-addr', any, '--identity-addr', any],
    ...['--node-name', 'laptop', '--log-level', 'warn'],
  ]);
  const url = await dev.fact('catalog');
  const dns = await dev.fact('dns');
  const identityUrl = await dev.fact('identity');
  await dev.fact('ready');
  return {
    url,
    address: new URL(url).host,
    port: Number(new URL(url).port),
    dnsPort: Number(dns.split(':').at(-1)),
    identityUrl,
    directory,
    run,
    put: async (path, body) => {
      const answer = await fetch(`${url}${path}`, {
        method: 'PUT',
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      if (answer.status !== 200) throw new Error(`PUT ${path} was answered ${answer.status}: ${text}`);
    },
  };
}
