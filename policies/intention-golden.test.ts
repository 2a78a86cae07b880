import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { canonicaliseTarget } from './canonical-request.ts';
import { type HeaderLine, lookalikesAmong } from './header-rule.ts';
import type { ServiceProtocol } from './intention.ts';
import { type CompiledIntentions, compileIntentions, type Verdict } from './intention-decision.ts';
import { completeIntention, parseIntention } from './intention-form.ts';

/**
 * Runs policies/testdata/*.txt, in the manner of raft's data-driven tests: a command, its input, `----`, its output, a blank line.
 * `UPDATE_GOLDEN=1` writes the outputs anew; the diff is then the review.
 *
 * - `policy`: first line `<destination> <protocol> <default action>`, then `<source> -> <destination> <JSON of the intention as Consul has it>`.
 * - `connect`: one source a line (`?` is an identity that is no service).
 * - `request`: `<source> <method> <target>[ | <header>: <value>]…` a line; the target is canonicalised first, as the proxies do.
 */
const folder = new URL('./testdata/', import.meta.url);
const record = { createdAtMs: 0, updatedAtMs: 0, createIndex: 1, modifyIndex: 1 };

for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
  test(`golden script ${file}`, () => {
    const url = new URL(file, folder);
    const script = readFileSync(url, 'utf8');
    const run = runScript(script);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(url, run);
    else assert.equal(run, script);
  });
}

/** The script with its outputs as they are now. */
function runScript(script: string): string {
  let policy: CompiledIntentions | undefined;
  const blocks = script.trimEnd().split(/\n\n+/);
  const run = blocks.map((block) => {
    const [head = ''] = block.split(/\n----(?:\n|$)/);
    const [command, ...input] = head.split('\n').filter((line) => !line.startsWith('#'));
    if (command === undefined) return block;
    if (command === 'policy') {
      policy = compilePolicy(input);
      return `${head}\n----\nok`;
    }
    const compiled = policy;
    if (compiled === undefined) throw new Error('a script begins with a policy');
    return `${head}\n----\n${input.map((line) => (command === 'connect' ? connect(compiled, line) : request(compiled, line))).join('\n')}`;
  });
  return `${run.join('\n\n')}\n`;
}

function compilePolicy([first = '', ...lines]: readonly string[]): CompiledIntentions {
  const [destination = '', protocol, defaultAction] = first.split(' ');
  const intentions = lines.map((line) => {
    const [, source = '', target = '', body = ''] = /^(\S+) -> (\S+) (.*)$/.exec(line) ?? [];
    return completeIntention(parseIntention(JSON.parse(body), { source, destination: target }), record);
  });
  return compileIntentions({
    destination,
    protocol: protocol as ServiceProtocol,
    defaultAction: defaultAction === 'allow' ? 'allow' : 'deny',
    intentions,
    revision: 1,
    nowMs: 0,
  });
}

function connect(policy: CompiledIntentions, source: string): string {
  const { connection } = policy.forSource(source === '?' ? undefined : source);
  return connection === 'per-request' ? connection : `${show(connection)}: ${connection.reason}`;
}

function request(policy: CompiledIntentions, line: string): string {
  const [start = '', ...headers] = line.split(' | ');
  const [source, method = '', target = ''] = start.split(' ');
  const canonical = canonicaliseTarget(target);
  if (!canonical.ok) return `refused: ${canonical.reason}`;
  const lines = headers.map((header): HeaderLine => {
    const [name = '', value = ''] = header.split(': ');
    return [name, value];
  });
  return show(
    policy.forSource(source).request({
      method,
      path: canonical.path,
      headerValues: (name) => lines.filter(([of]) => of === name).map(([, value]) => value),
      headerLookalikes: (name) => lookalikesAmong(lines, name),
    }),
  );
}

function show({ rule, reading, allowed }: Verdict): string {
  assert.equal(rule.endsWith(allowed ? '(allow)' : '(deny)'), true, rule);
  return reading === undefined ? rule : `${rule} [${reading}]`;
}
