import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '#runtime/logging.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { Place } from './place.ts';
import { leadKey, standbyPrefix, writtenProcess } from './process-record.ts';
import { ProcessRoll } from './process-roll.ts';

const log = createLogger({ process: 'test', level: 'silent' });

test('who shares the store: who serves first, then who waits, as of a moment; one that is old says since when nothing is known', async () => {
  let nowMs = 1_000_000;
  const context = { clock: () => nowMs, log };
  await using store = await openSqliteStore({ path: undefined, clock: Date.now, log });
  const take = async (keyOf: (lease: string) => string, name: string): Promise<Place> => {
    const at = { keyOf, value: writtenProcess(name, nowMs), unless: [] };
    return (await Place.take(store, at, context)) ?? assert.fail('taken');
  };
  const waiting = await take((lease) => standbyPrefix + lease, 'vm-1 10.0.0.1:8510');
  const lead = await take(() => leadKey, 'vm-2 10.0.0.2:8510');
  const roll = new ProcessRoll(store, lead, context);
  assert.deepEqual([roll.last, roll.current, roll.lostSinceMs], [undefined, undefined, undefined]);
  await roll.look();
  const shown = () => roll.last?.processes.map(({ name, role, isSelf }) => [name.split(' ')[0], role, isSelf]);
  assert.deepEqual(shown(), [
    ['vm-2', 'lead', true],
    ['vm-1', 'standby', false],
  ]);
  const fence = roll.last?.processes[0]?.fence;
  assert.deepEqual(lead.fence, { kind: 'mod-revision', key: leadKey, equals: fence });

  nowMs += 15_000;
  assert.deepEqual([roll.current, roll.lostSinceMs], [roll.last, undefined]);
  nowMs += 1;
  assert.deepEqual([roll.current, roll.lostSinceMs], [undefined, 1_000_000], 'the last one is kept, and is old');
  await waiting.release();
  await roll.look();
  assert.deepEqual(shown(), [['vm-2', 'lead', true]]);
  assert.equal(roll.lostSinceMs, undefined);
  await lead.release();
});
