import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from '#runtime/logging.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { Presence } from '../presence.ts';
import { RecordKeeping } from './record-keeping.ts';
import { WitnessedStore } from './witnessed-store.ts';

const log = createLogger({ process: 'test', level: 'silent' });

test('a write that was refused for want of room is a failure from then on, until one is taken; it is tried every five seconds', async () => {
  let nowMs = 1_000_000;
  const clock = () => nowMs;
  await using real = await openSqliteStore({ path: undefined, clock: Date.now, log });
  let refusal: MeshError | undefined;
  const failing: Store = new Proxy(real, {
    get(target, name) {
      if (name === 'txn' && refusal !== undefined) return () => Promise.reject(refusal);
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const store = new WitnessedStore(failing, clock);
  const audit = { failure: undefined, ready: async () => undefined };
  const presence = await Presence.open(store, { clock });
  const stop = new AbortController();
  const pauses: number[] = [];
  const pause = async (ms: number): Promise<void> => {
    pauses.push(ms);
    nowMs += ms;
    if (pauses.length === 3) refusal = undefined;
    if (pauses.length === 4) stop.abort();
  };
  const records = new RecordKeeping({ store, audit, presence, context: { log }, pause });
  assert.deepEqual(records.failures, []);

  const write = () => store.put('k', new Uint8Array(1));
  refusal = new MeshError('SLV-3505', 'It does not answer.');
  await assert.rejects(write());
  assert.deepEqual(records.failures, [], 'another matter');
  refusal = new MeshError('SLV-3504', 'The store has no space left for this write.');
  await assert.rejects(write());
  nowMs += 1_000;
  await assert.rejects(write());
  const failure = { sinceMs: 1_000_000, reason: 'SLV-3504: The store has no space left for this write.' };
  assert.deepEqual(records.failures, [failure]);
  await store.txn({ compare: [{ kind: 'absent', key: 'x' }], success: [] }).catch(() => undefined);
  assert.deepEqual(records.failures, [failure]);

  await records.run(stop.signal);
  assert.deepEqual(records.failures, []);
  assert.deepEqual(pauses, [5_000, 5_000, 5_000, 5_000]);
  assert.equal((await real.get('identity/presence'))?.version, 2, 'noted once, when there was room');
});
