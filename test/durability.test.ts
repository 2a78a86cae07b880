import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, it } from 'node:test';
import { createLogger } from '#runtime/logging.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { traceSyncs } from './sync-trace.ts';
import { acknowledgements, unsyncedAcknowledgements } from './system-call-trace.ts';

const writer = new URL('./durability.fixture.ts', import.meta.url).pathname;
const directory = await mkdtemp(join(tmpdir(), 'selvedge-durability-'));
after(() => rm(directory, { recursive: true }));

describe('durability: an acknowledged write is on the disk', () => {
  it('syncs the write-ahead log before each acknowledgement leaves the process, alone and in groups', async (context) => {
    if (spawnSync('strace', ['-V']).error !== undefined) {
      assert.notEqual(
        process.env['CI'],
        'true',
        'strace is missing (apt-get install strace); in CI this test must run',
      );
      return context.skip('strace is not installed (apt-get install strace)');
    }
    for (const writers of [1, 16]) {
      const trace = traceSyncs(directory, writers, 80);
      assert.equal(acknowledgements(trace).length, 80);
      assert.deepEqual(unsyncedAcknowledgements(trace), []);
      const syncs = trace.filter((call) => call.name.endsWith('sync') && call.file.endsWith('-wal'));
      if (writers > 1) assert.ok(syncs.length < 40, `${syncs.length} syncs for 80 writes: they were not grouped`);
      // The checker sees what it looks for: without the syncs every acknowledgement is early, and without one some are.
      assert.equal(unsyncedAcknowledgements(trace.filter((call) => !call.name.endsWith('sync'))).length, 80);
      const dropped = syncs[Math.floor(syncs.length / 2)];
      assert.ok(unsyncedAcknowledgements(trace.filter((call) => call !== dropped)).length > 0);
    }
  });

  it('has every acknowledged write after kill -9 in the middle of writing, round after round', async () => {
    const path = join(directory, 'killed.db');
    const acknowledged: string[] = [];
    for (const round of ['a', 'b', 'c', 'd']) {
      const before = acknowledged.length;
      const child = spawn(process.execPath, [writer, path, round, '16', '1000000'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(child, 'exit');
      for await (const line of createInterface({ input: child.stdout })) {
        acknowledged.push(line.slice('ack '.length));
        if (acknowledged.length === before + 300) child.kill('SIGKILL');
      }
      assert.deepEqual(await exited, [null, 'SIGKILL']);
      await using store = await openSqliteStore({ path, clock: Date.now, log: createLogger({ process: 'test' }) });
      const { kvs, revision } = await store.range('');
      const held = new Map(kvs.map((kv) => [kv.key, Buffer.from(kv.value).toString()]));
      for (const key of acknowledged) assert.equal(held.get(key), `value of ${key}`);
      assert.equal(revision, 1 + kvs.length, 'each write has its own revision, without a hole');
    }
  });
});
