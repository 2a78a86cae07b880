import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import { waitFor } from '#test/wait-for.ts';
import { oldestSqlite, requireSqlite } from './open-database.ts';
import { openSqliteStore, storeOver } from './sqlite-store.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const clock = () => 1_000_000;
const directory = await mkdtemp(join(tmpdir(), 'selvedge-store-'));
after(() => rm(directory, { recursive: true }));
let files = 0;
const freshPath = () => join(directory, `folder-${++files}`, 'store.db');
const open = (path: string | undefined, maxSizeBytes?: number) =>
  openSqliteStore({ path, clock, log, ...(maxSizeBytes === undefined ? {} : { maxSizeBytes }) });
const code = (expected: string) => (error: unknown) => isMeshError(error) && error.code === expected;
const bytes = (size: number) => new Uint8Array(size).fill(1);

describe('sqlite store: the file', () => {
  it('is 0600 in a 0700 folder, and so is its log; one with wider rights is narrowed', async () => {
    const path = freshPath();
    await using store = await open(path);
    await store.put('a', bytes(1));
    const mode = async (name: string) => ((await stat(name)).mode & 0o777).toString(8);
    assert.deepEqual(
      [await mode(join(path, '..')), await mode(path), await mode(`${path}-wal`)],
      ['700', '600', '600'],
    );
    await store.close();
    await chmod(path, 0o644);
    await (await open(path)).close();
    assert.equal(await mode(path), '600');
  });

  it('keeps keys, revisions, history and leases across a restart', async () => {
    const path = freshPath();
    const first = await open(path);
    const lease = await first.grantLease(5000);
    const r1 = await first.put('a', bytes(1));
    await first.put('a', bytes(2), { lease: lease.id });
    const before = await first.range('');
    await first.close();
    const second = await open(path);
    assert.deepEqual(await second.range(''), before);
    assert.equal((await second.get('a', { revision: r1 }))?.value.length, 1);
    await second.keepAliveLease(lease.id);
    assert.notEqual((await second.grantLease(5000)).id, lease.id);
    assert.equal(await second.put('b', bytes(1)), before.revision + 1);
    await second.close();
  });

  it('has one owner: a second process, and a second store of this process, are told so', async () => {
    const path = freshPath();
    await using store = await open(path);
    await assert.rejects(open(path), code('SLV-3508'));
    const script = `import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
      import { createLogger } from '#runtime/logging.ts';
      await openSqliteStore({ path: ${JSON.stringify(path)}, clock: Date.now, log: createLogger({ process: 'test' }) })
        .then(() => console.log('opened'), (error) => console.log(error.code, error.message));`;
    const other = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.match(other.stdout, /^SLV-3508 .* is open in another process/, other.stderr);
    await store.put('a', bytes(1));
    await store.close();
    await (await open(path)).close();
  });

  it('is refused when damaged, when newer, and where it can not be made', async () => {
    const path = freshPath();
    await (await open(path)).close();
    const newer = new DatabaseSync(path);
    newer.exec('PRAGMA user_version = 99');
    newer.close();
    await assert.rejects(open(path), code('SLV-3509'));
    await writeFile(path, 'this was a database'.repeat(500));
    await assert.rejects(open(path), code('SLV-3509'));
    await assert.rejects(open(join(path, 'below-a-file.db')), code('SLV-1005'));
  });

  it('needs a SQLite that keeps its promises', () => {
    for (const old of ['3.51.2', '3.50.9', '2.99.99', '0'])
      assert.throws(() => requireSqlite(old), code('SLV-3509'), old);
    for (const fit of [oldestSqlite, '3.51.10', '3.52.0', '4.0', '3.53.4']) requireSqlite(fit);
  });
});

describe('sqlite store: trouble', () => {
  it('ends no lease early, and keeps none longer, when the wall clock is set', async (t) => {
    await using store = await openSqliteStore({ path: undefined, log });
    const real = Date.now;
    t.after(() => {
      Date.now = real;
    });
    const long = await store.grantLease(600_000);
    await store.put('long', bytes(1), { lease: long.id });
    await store.put('short', bytes(1), { lease: (await store.grantLease(1_000)).id });
    Date.now = () => real() - 3_600_000;
    await waitFor('the short one to end', async () => (await store.get('short')) === undefined, 10_000);
    Date.now = () => real() + 3_600_000;
    await store.keepAliveLease(long.id);
    await store.put('sweep', bytes(1), { lease: (await store.grantLease(1_000)).id });
    await waitFor('a sweep', async () => (await store.get('sweep')) === undefined, 10_000);
    assert.notEqual(await store.get('long'), undefined);
  });

  it('is full at its limit, refuses only what does not fit, goes on reading, and recovers', async () => {
    await using store = await open(freshPath(), 2 * 1024 * 1024);
    const outcomes = await Promise.allSettled([
      store.put('small-1', bytes(10)),
      ...Array.from({ length: 8 }, (_, i) => store.put(`large-${i}`, bytes(500_000))),
      store.put('small-2', bytes(10)),
    ]);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    assert.ok(refused.length >= 4 && refused.every((outcome) => code('SLV-3504')(outcome.reason)));
    const { kvs, revision } = await store.range('');
    assert.equal(kvs.length, outcomes.length - refused.length);
    assert.ok(kvs.some((kv) => kv.key === 'small-1') && kvs.some((kv) => kv.key === 'small-2'));
    assert.equal(revision, 1 + kvs.length, 'a refused write takes no revision');
    await store.txn({ compare: [], success: [{ kind: 'delete-prefix', prefix: 'large-' }] });
    await store.compact((await store.status()).revision);
    await store.put('large-again', bytes(500_000));
    await store.close();
  });

  it('recovers by itself from a disk that is really full', (context) => {
    const mount = ['--user', '--map-root-user', '--mount', 'sh', '-c'];
    const script = 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"';
    const probe = spawnSync('unshare', [...mount, script, directory, 'true']);
    if (probe.status !== 0) return context.skip('no right to mount a small file system (unshare --user --mount)');
    const child = new URL('./full-disk.fixture.ts', import.meta.url).pathname;
    const run = spawnSync('unshare', [...mount, script, directory, process.execPath, child, directory], {
      encoding: 'utf8',
    });
    assert.equal(run.stdout, 'filled: SLV-3504\nread: true\nafter freeing: true\n', run.stderr);
  });

  it('rejects every call when its worker dies, and says so from then on: nothing hangs', async () => {
    // A worker that speaks the protocol and dies on its first batch: no way to make the real one die at a chosen moment.
    const source = `const { parentPort } = require('node:worker_threads');
      parentPort.on('message', () => process.exit(7));
      parentPort.postMessage({ kind: 'opened', revision: 1, leases: [] });`;
    await using store = await storeOver(new Worker(source, { eval: true }), { clock, log });
    const watching = store.watch('', 2, AbortSignal.timeout(10_000))[Symbol.asyncIterator]().next();
    // Listened to from the start: the worker may be dead before the next turn is over.
    const early = Promise.allSettled([store.put('a', bytes(1)), watching]);
    await nextTurn();
    const late = Promise.allSettled([store.put('b', bytes(1)), store.get('a')]);
    for (const settled of [...(await early), ...(await late)]) {
      assert.ok(settled.status === 'rejected' && code('SLV-3505')(settled.reason));
      assert.match(settled.reason.message, /code 7/);
    }
    await assert.rejects(store.status(), code('SLV-3505'));
    await assert.rejects(store.keepAliveLease('x'), code('SLV-3505'));
    await store.close();
  });

  it('refuses calls beyond its waiting room instead of growing', async () => {
    await using store = await open(undefined);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 80 }, (_, i) => store.put(`${i}`, bytes(1024 * 1024))),
    );
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    assert.ok(refused.length > 0 && refused.every((outcome) => code('SLV-3505')(outcome.reason)));
    assert.equal((await store.range('')).kvs.length, outcomes.length - refused.length);
    await store.close();
  });
});

describe('sqlite store: history', () => {
  it('gives a watcher that comes while writes are on their way each of them once, and one that comes after another went', {
    timeout: 30_000,
  }, async () => {
    await using store = await open(freshPath());
    for (let round = 0; round < 20; round++) {
      const abort = new AbortController();
      const before = Array.from({ length: 5 }, () => store.put('k', bytes(1)));
      for (let turn = 0; turn < round % 4; turn++) await nextTurn(); // on their way, or written, when it begins to watch
      const iterator = store.watch('k', 2 + round * 10, abort.signal)[Symbol.asyncIterator]();
      const first = iterator.next();
      const after = Array.from({ length: 5 }, () => store.put('k', bytes(1)));
      const seen = [(await first).value?.revision];
      while (seen.length < 10) seen.push((await iterator.next()).value?.revision);
      assert.deepEqual(
        seen,
        Array.from({ length: 10 }, (_, at) => 2 + round * 10 + at),
      );
      await Promise.all([...before, ...after]);
      abort.abort();
      await iterator.return?.(undefined);
    }
  });

  it('serves a watcher that lags far behind, from disk, while compaction and writes go on', async () => {
    await using store = await open(freshPath());
    const abort = new AbortController();
    const seen: number[] = [];
    const watch = store.watch('k', 2, abort.signal);
    await store.put('k', bytes(1));
    const iterator = watch[Symbol.asyncIterator]();
    seen.push((await iterator.next()).value?.revision ?? 0);
    for (let round = 0; round < 3; round++) {
      await Promise.all(Array.from({ length: 900 }, () => store.put('k', bytes(1))));
    }
    for (let i = 0; i < 2700; i++) seen.push((await iterator.next()).value?.revision ?? 0);
    assert.deepEqual(
      seen,
      Array.from({ length: 2701 }, (_, i) => i + 2),
    );
    const compacting = store.compact(2600);
    const writes = Promise.all(Array.from({ length: 50 }, (_, i) => store.put(`k${i}`, bytes(1))));
    await Promise.all([compacting, writes]);
    assert.equal((await store.range('k')).kvs.length, 51);
    assert.equal((await store.get('k', { revision: 2600 }))?.modRevision, 2600);
    abort.abort();
    await store.close();
  });
});
