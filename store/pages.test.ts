import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { pagesOf } from './pages.ts';
import { openSqliteStore } from './sqlite/sqlite-store.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const key = (number: number): string => `k/${String(number).padStart(5, '0')}`;

async function filled(count: number) {
  const store = await openSqliteStore({ path: undefined, clock: Date.now, log });
  await Promise.all(Array.from({ length: count }, (_, number) => store.put(key(number), new Uint8Array(1))));
  await store.put('l', new Uint8Array(1));
  return store;
}

test('pages have every key once, in order, as of one revision, whatever is written meanwhile', async () => {
  for (const count of [0, 1_000, 2_100]) {
    await using store = await filled(count);
    const { revision } = await store.status();
    const keys: string[] = [];
    let pages = 0;
    for await (const page of pagesOf(store, 'k/')) {
      pages += 1;
      assert.equal(page.revision, revision);
      keys.push(...page.kvs.map((kv) => kv.key));
      await store.put(`${key(count)}-new`, new Uint8Array(1));
      await store.delete(key(count - 1));
    }
    assert.deepEqual(
      keys,
      Array.from({ length: count }, (_, number) => key(number)),
    );
    assert.equal(pages, Math.floor(count / 1_000) + 1);
  }
});

test('whose revision is compacted between two pages is told so', async () => {
  await using store = await filled(1_500);
  const pages = pagesOf(store, '');
  assert.equal((await pages.next()).value?.kvs.length, 1_000);
  const last = await store.put('l', new Uint8Array(1));
  await store.compact(last);
  await assert.rejects(pages.next(), (error) => isMeshError(error, 'SLV-3502'));
});
