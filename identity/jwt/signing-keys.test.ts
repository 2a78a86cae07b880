import assert from 'node:assert/strict';
import { mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { openAuditLog } from '#runtime/audit/audit-log.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { keyTiming as timing } from './key-plan.ts';
import { SigningKeys } from './signing-keys.ts';

/** Keys in a folder, with time in the test's hands: each wait moves the clock. */
async function scene(
  run: (world: { dataDir: string; open(): Promise<SigningKeys>; clock: { ms: number } }) => Promise<void>,
) {
  const dataDir = await mkdtemp(join(tmpdir(), 'selvedge-jwt-'));
  const clock = { ms: 1_000_000_000 };
  const context = { ...systemContext(createLogger({ process: 'test', level: 'silent' })), clock: () => clock.ms };
  const audit = await openAuditLog(undefined, context);
  const pause = async (ms: number) => {
    clock.ms += ms;
  };
  try {
    await run({ dataDir, clock, open: () => SigningKeys.open({ dataDir, audit, context, pause }) });
  } finally {
    await rm(dataDir, { recursive: true });
  }
}

/** Lets the keys take steps until one of them ends the run. */
async function follow(keys: SigningKeys, until: () => boolean, publish: () => Promise<void> = async () => undefined) {
  const stop = new AbortController();
  await keys.run(async () => {
    await publish();
    if (until()) stop.abort();
  }, stop.signal);
}

test('a first key signs at once; it is in a file that nobody else may read, and the next start has it', () =>
  scene(async ({ dataDir, open }) => {
    const keys = await open();
    const { mode } = await stat(join(dataDir, 'jwt-keys.json'));
    assert.equal(mode & 0o777, 0o600);
    assert.deepEqual(
      keys.authorities.map(({ kid }) => kid),
      [keys.active.kid],
    );
    assert.equal((await open()).active.kid, keys.active.kid);
  }));

test('a successor is in the bundle three refresh hints before it signs; the old key stays until its tokens have expired', () =>
  scene(async ({ open, clock }) => {
    const keys = await open();
    const first = keys.active.kid;
    const beganMs = clock.ms;
    const seen: { atMs: number; signs: string; published: number }[] = [];
    const look = async () => {
      seen.push({ atMs: clock.ms - beganMs, signs: keys.active.kid, published: keys.authorities.length });
    };
    await follow(keys, () => seen.length === 2, look);
    const second = keys.active.kid;
    assert.notEqual(second, first);
    assert.deepEqual(seen, [
      { atMs: timing.rotateAfterMs, signs: first, published: 2 },
      { atMs: timing.rotateAfterMs + timing.publishedMs + timing.retiredMs, signs: second, published: 1 },
    ]);
  }));

test('a start after a crash goes on at the step that was not done', () =>
  scene(async ({ open, clock }) => {
    const first = await open();
    // The bundle can not be published: the process ends between "prepared" and "published".
    const stop = new AbortController();
    await first.run(async () => {
      stop.abort();
      throw new Error('the store is away');
    }, stop.signal);
    assert.equal(first.authorities.length, 2);

    const second = await open();
    assert.deepEqual(second.authorities, first.authorities);
    assert.equal(second.active.kid, first.active.kid);
    let published = 0;
    const republishedMs = clock.ms;
    await follow(
      second,
      () => published === 2,
      async () => {
        published += 1;
      },
    );
    assert.ok(clock.ms - republishedMs >= timing.publishedMs + timing.retiredMs);
    assert.notEqual(second.active.kid, first.active.kid);
  }));

test('a step that can not be written down is not taken, and the old key goes on signing', () =>
  scene(async ({ dataDir, open }) => {
    const keys = await open();
    const { kid } = keys.active;
    await rename(dataDir, `${dataDir}-away`);
    const stop = new AbortController();
    setImmediate(() => stop.abort());
    await keys.run(async () => undefined, stop.signal);
    await rename(`${dataDir}-away`, dataDir);
    assert.deepEqual([keys.active.kid, keys.authorities.length], [kid, 1]);
  }));

test('a journal that is not one is refused, not replaced', () =>
  scene(async ({ dataDir, open }) => {
    const path = join(dataDir, 'jwt-keys.json');
    for (const content of [
      '',
      '{}',
      '{"keys":[{"kid":"a","privateKeyPem":"x","state":{"kind":"active","sinceMs":0}}]}',
    ]) {
      await writeFile(path, content);
      await assert.rejects(open(), (error) => isMeshError(error, 'SLV-2143') && error.message.includes(path));
      assert.equal(await readFile(path, 'utf8'), content);
    }
  }));
