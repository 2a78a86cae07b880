import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { decodeSnapshot, encodeSnapshot, fillStore, type Snapshot, takeSnapshot } from './snapshot.ts';
import { openSqliteStore } from './sqlite/sqlite-store.ts';

const options = { path: undefined, clock: () => 1_000, log: createLogger({ process: 'test', level: 'silent' }) };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const unreadable = (error: unknown): boolean => isMeshError(error, 'SLV-3510');

test('what was written is read', async () => {
  const entry = fc
    .tuple(fc.string({ minLength: 1, unit: 'binary' }), fc.uint8Array({ maxLength: 40 }))
    .map(([key, value]) => ({ key, value: new Uint8Array(value) }));
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 10 }), fc.integer({ min: 1 }), async (entries, revision) => {
      const snapshot: Snapshot = { service: 'catalog', createdAtMs: 5, revision, entries };
      assert.deepEqual(await decodeSnapshot(await encodeSnapshot(snapshot), 'catalog'), snapshot);
    }),
    { numRuns: 50 },
  );
});

test('a file that is cut off, changed, of another service or of another kind is refused', async () => {
  const entries = [{ key: 'a', value: bytes('1') }];
  const file = await encodeSnapshot({ service: 'catalog', createdAtMs: 5, revision: 7, entries });
  const text = gunzipSync(file).toString('utf8');
  for (const [what, bad] of [
    ['cut off', file.subarray(0, file.length - 3)],
    ['a changed value', gzipSync(text.replace('MQ==', 'Mg=='))],
    ['no end', gzipSync(text.split('\n').slice(0, -2).join('\n'))],
    ['a newer version', gzipSync(text.replace('"version":1', '"version":2'))],
    ['nothing', Buffer.of()],
    ['text', Buffer.from('hello')],
    ['empty gzip', gzipSync('')],
  ] as const)
    await assert.rejects(decodeSnapshot(Buffer.from(bad), 'catalog'), unreadable, what);
  await assert.rejects(
    decodeSnapshot(file, 'identity'),
    (error) => unreadable(error) && /of the catalog/.test(String(error)),
  );
});

test('a store made of a snapshot holds the same, above the revisions of the old one', async () => {
  await using old = await openSqliteStore(options);
  for (let i = 0; i < 300; i++) await old.put(`k/${i}`, new Uint8Array(i * 40));
  await old.delete('k/7');
  const lease = await old.grantLease(60_000);
  await old.put('leased', bytes('x'), { lease: lease.id });
  const snapshot = await takeSnapshot(old, 'catalog', 5);
  const { revision } = await old.status();
  assert.equal(snapshot.revision, revision);
  await using made = await openSqliteStore({ ...options, firstRevision: revision });
  assert.equal((await made.status()).compactRevision, revision);
  await fillStore(made, snapshot);
  const [was, is] = await Promise.all([old.range('k/'), made.range('')]);
  assert.deepEqual(
    is.kvs.map(({ key, value }) => [key, value]),
    was.kvs.map(({ key, value }) => [key, value]),
  );
  assert.ok(is.kvs.every(({ createRevision }) => createRevision > revision));
  await assert.rejects(made.range('', { revision: revision - 1 }), (error) => isMeshError(error, 'SLV-3502'));
});
