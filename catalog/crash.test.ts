import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { killLoop } from '#test/kill-loop.ts';

/** The long version: `npm run test:durability`. */
test('a catalog killed while it writes has every write that it acknowledged, and its index goes on', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-crash-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const { acknowledged, unanswered, auditLines } = await killLoop(2, directory, {
    random: Math.random,
    say: (words) => t.diagnostic(words),
  });
  t.diagnostic(`${acknowledged} acknowledged, ${unanswered} without an answer, ${auditLines} lines of the audit log`);
  assert.ok(acknowledged >= 2 && auditLines >= acknowledged, 'what is acknowledged is recorded');
});
