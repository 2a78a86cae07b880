import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { createLogger } from '#runtime/logging.ts';
import { keepCompact } from './compaction.ts';
import { openSqliteStore } from './sqlite/sqlite-store.ts';

const log = createLogger({ process: 'test', level: 'silent' });

test('history older than an hour goes, newer stays, and values stay', async () => {
  let nowMs = 1_000_000;
  await using store = await openSqliteStore({ path: undefined, clock: () => nowMs, log });
  mock.timers.enable({ apis: ['setInterval'] });
  try {
    const stop = keepCompact(store, { clock: () => nowMs, log });
    const revisions: number[] = [];
    const pass = async (): Promise<void> => {
      nowMs += 300_000;
      mock.timers.tick(300_000);
      await store.status(); // behind the look's own status in the store's queue
      await store.status(); // behind its compaction, where there is one
    };
    for (let round = 0; round < 14; round++) {
      revisions.push(await store.put('key', Buffer.from(String(round))));
      await pass();
    }
    const { compactRevision, revision } = await store.status();
    assert.ok(compactRevision > 0, 'compacted');
    assert.equal(revision, revisions.at(-1));
    assert.equal(compactRevision, revisions[1], 'the newest revision that is an hour old');
    const kept = await store.get('key', { revision: revisions[2] ?? 0 });
    assert.equal(Buffer.from(kept?.value ?? []).toString(), '2');
    await assert.rejects(store.get('key', { revision: revisions[0] ?? 0 }), { code: 'SLV-3502' });
    stop();
  } finally {
    mock.timers.reset();
  }
});
