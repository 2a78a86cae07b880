import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { systemContext } from '#runtime/process-context.ts';
import { ForcedBreakers } from './forced-breakers.ts';

/** A directory, and a clock that the test sets. */
function scene(t: { after(end: () => void): void }) {
  const directory = mkdtempSync(join(tmpdir(), 'forced-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const log: string[] = [];
  const time = { ms: 1_000 };
  const context = {
    ...systemContext(pino({ level: 'warn' }, { write: (line: string) => log.push(line) })),
    clock: () => time.ms,
  };
  const load = (...at: [string | undefined] | []) =>
    ForcedBreakers.load('web', at.length === 0 ? directory : at[0], context);
  return { directory, file: join(directory, 'breakers-web.json'), log, time, load };
}

test('what is forced outlives the process, with its age; an instance goes before its target', async (t) => {
  const { file, log, time, load } = scene(t);
  const first = await load();
  assert.equal(await first.set('db', undefined, 'open'), true);
  time.ms = 5_000;
  assert.equal(await first.set('db', undefined, 'open'), true);
  assert.equal(await first.set('db', 'node/a', 'free'), true);
  assert.equal(await first.set('db', 'node/b', 'closed'), true);
  assert.equal(await first.set('other', 'node/a', 'closed'), true);
  assert.equal(await first.set('other', 'node/a', 'free'), true);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  for (const forced of [first, await load()]) {
    assert.deepEqual(forced.of('db', 'node/later'), { state: 'open', sinceMs: 1_000 });
    assert.equal(forced.of('db', 'node/a'), undefined);
    assert.deepEqual(forced.of('db', 'node/b'), { state: 'closed', sinceMs: 5_000 });
    assert.equal(forced.of('other', 'node/a'), undefined);
    assert.equal(forced.all.length, 2);
  }
  assert.equal(log.filter((line) => line.includes('still forced')).length, 2);
  await first.set('db', undefined, 'free');
  assert.equal((await load()).all.length, 0);
});

test('a damaged file is nothing, and is said; where nothing can be written it holds all the same', async (t) => {
  const { directory, file, log, load } = scene(t);
  for (const text of ['{', '{"format":2,"service":"api","held":[]}', '{"format":1}']) {
    writeFileSync(file, text);
    assert.equal((await load()).all.length, 0);
  }
  assert.equal(log.filter((line) => line.includes('not readable')).length, 3);
  const unwritable = join(directory, 'file');
  writeFileSync(unwritable, '');
  chmodSync(unwritable, 0o400);
  for (const at of [unwritable, undefined]) {
    const forced = await load(at);
    assert.equal(await forced.set('db', undefined, 'open'), false);
    assert.equal(forced.of('db', 'node/a')?.state, 'open');
  }
});

test('beside a successor nothing is set that it would not know', async (t) => {
  const { file, load } = scene(t);
  const forced = await load();
  const takeBack = forced.stepAside();
  assert.throws(() => forced.set('db', undefined, 'open'), { code: 'SLV-4016' });
  takeBack();
  await forced.set('db', undefined, 'open');
  assert.match(readFileSync(file, 'utf8'), /"target":"db","state":"open"/);
});

test('of one service at most a thousand', async (t) => {
  const forced = await scene(t).load(undefined);
  const set = Array.from({ length: 1_000 }, (_, at) => forced.set('db', `node/${at}`, 'open'));
  assert.throws(() => forced.set('db', 'node/more', 'open'), { code: 'SLV-1009' });
  await Promise.all(set);
  await forced.set('db', undefined, 'open');
  assert.equal(forced.all.length, 1, 'the target takes the place of its instances');
});
