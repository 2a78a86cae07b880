import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from './free-ports.ts';

/**
 * Runs the commands of a document as a reader would paste them: all ```sh blocks, in order, in one bash, in an empty directory in which `./bin` is the
 * checkout's. A ```text block right behind one shows what it prints.
 */

const checkout = join(import.meta.dirname, '..');
/** Printed between blocks; no command prints it. */
const separator = '\u001e';

/** A fenced block. */
export interface Snippet {
  readonly language: string;
  readonly text: string;
  /** Of the opening fence, from 1. */
  readonly line: number;
}

/** A block of commands that was run. */
export interface RanSnippet {
  readonly line: number;
  readonly commands: string;
  /** Standard output and error of the foreground. */
  readonly output: string;
  /** What the document shows; undefined where it shows nothing. `…` stands for anything. */
  readonly shown: string | undefined;
}

/** All fenced blocks of a document. */
export function snippetsOf(markdown: string): Snippet[] {
  const found: Snippet[] = [];
  let open: { language: string; line: number; lines: string[] } | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^```(\w*)\s*$/.exec(line);
    if (fence === null) open?.lines.push(line);
    else if (open === undefined) open = { language: fence[1] ?? '', line: index + 1, lines: [] };
    else {
      found.push({ language: open.language, line: open.line, text: open.lines.join('\n') });
      open = undefined;
    }
  }
  return found;
}

/** Whether an output is what a document shows: the same lines, `…` standing for anything. */
export function isAsShown(output: string, shown: string): boolean {
  const pattern = shown
    .trim()
    .split('…')
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('[\\s\\S]*?');
  return new RegExp(`^${pattern}$`).test(output.replaceAll('\r', '').trim());
}

/**
 * Runs a document. Every port that it names on 127.0.0.1 is exchanged for a free one.
 *
 * @param options.commands further commands for its PATH, by name: the file to run
 * @param options.environment besides a bare PATH and HOME; of the ports in it the same is true
 */
export async function runDocument(
  path: string,
  options: { commands?: Readonly<Record<string, string>>; environment?: Readonly<Record<string, string>> } = {},
): Promise<readonly RanSnippet[]> {
  const given = readFileSync(join(checkout, path), 'utf8');
  const environment = JSON.stringify(options.environment ?? {});
  const exchange = await portExchange(given + environment);
  const snippets = snippetsOf(exchange(given));
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-doc-'));
  try {
    symlinkSync(join(checkout, 'bin'), join(directory, 'bin'));
    mkdirSync(join(directory, 'commands'));
    for (const [name, file] of Object.entries(options.commands ?? {}))
      symlinkSync(file, join(directory, 'commands', name));
    const shell = snippets.filter(({ language }) => language === 'sh');
    const script = shell.map(({ text }) => `${text}\nprintf '%s' '${separator}'\n`).join('');
    writeFileSync(join(directory, 'document.sh'), script);
    const output = await runBash(directory, JSON.parse(exchange(environment)) as Record<string, string>);
    const outputs = output.split(separator);
    const stuck = shell[outputs.length - 1];
    if (stuck !== undefined)
      throw new Error(
        `${path}:${stuck.line} did not come to its end:\n${stuck.text}\n--- printed\n${outputs.at(-1) ?? ''}`,
      );
    return shell.map((snippet, index) => {
      const next = snippets[snippets.indexOf(snippet) + 1];
      return {
        line: snippet.line,
        commands: snippet.text,
        output: outputs[index] ?? '',
        shown: next?.language === 'text' ? next.text : undefined,
      };
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Less than the runner gives a test. */
const longestRunMs = 150_000;

/** Ends with everything that it started: its processes are one group. */
async function runBash(directory: string, environment: Readonly<Record<string, string>>): Promise<string> {
  // One pipe for both: their order is what a reader sees.
  const child = spawn('bash', ['-c', 'exec bash document.sh 2>&1'], {
    cwd: directory,
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {
      PATH: `${join(directory, 'commands')}:${process.env['PATH'] ?? ''}`,
      HOME: directory,
      TMPDIR: directory,
      NO_COLOR: '1',
      ...environment,
    },
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const { promise, resolve } = Promise.withResolvers<void>();
  child.once('exit', () => resolve());
  const endGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error; // all have ended
    }
  };
  const timer = setTimeout(endGroup, longestRunMs);
  process.once('exit', endGroup);
  await promise;
  clearTimeout(timer);
  process.off('exit', endGroup);
  endGroup();
  return Buffer.concat(chunks).toString('utf8');
}

/** @returns what exchanges each port of 127.0.0.1 in a text for a free one, the same one everywhere */
async function portExchange(text: string): Promise<(text: string) => string> {
  const named = [...new Set([...text.matchAll(/127\.0\.0\.1:(\d{2,5})\b/g)].map((match) => match[1] ?? ''))];
  const free = await freePorts(named.length);
  const chosen = new Map(named.map((port, index) => [port, String(free[index])]));
  return (from) => from.replace(/(?<![\d.])\d{4,5}(?![\d.])/g, (port) => chosen.get(port) ?? port);
}
