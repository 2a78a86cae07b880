import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createLogger } from '#runtime/logging.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { Presence } from './presence.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

let nowMs = 0;
let store: Store;
const context = { log, clock: (): number => nowMs };

beforeEach(async () => {
  nowMs = 1_000 * dayMs;
  store = await openSqliteStore({ path: undefined, clock: Date.now, log });
});

afterEach(() => store.close());

/** The service is there for so long. */
async function stay(presence: Presence, minutes: number): Promise<void> {
  for (let passed = 0; passed < minutes; passed += 5) {
    nowMs += 5 * minuteMs;
    await presence.note();
  }
}

test('who was away while the service was there was away; who was away with it was not', async () => {
  const first = await Presence.open(store, context);
  const sinceMs = nowMs;
  await stay(first, 60);
  assert.equal(first.awayMs(sinceMs), 60 * minuteMs);
  nowMs += 30 * dayMs;
  const second = await Presence.open(store, context);
  assert.equal(second.awayMs(sinceMs), 60 * minuteMs);
  await stay(second, 30);
  assert.equal(second.awayMs(sinceMs), 90 * minuteMs);
  assert.equal(second.awayMs(nowMs - 10 * minuteMs), 10 * minuteMs, 'seen since the outage');
  assert.equal(
    second.awayMs(nowMs - 30 * minuteMs - 15 * dayMs),
    30 * minuteMs,
    'seen (by another clock) amid the outage',
  );
});

test('a restart is no outage', async () => {
  await Presence.open(store, context);
  nowMs += 9 * minuteMs;
  const again = await Presence.open(store, context);
  assert.equal(again.awayMs(nowMs - 20 * minuteMs), 20 * minuteMs);
});

test('a suspended service knows before it has noted it', async () => {
  const presence = await Presence.open(store, context);
  nowMs += 40 * dayMs;
  assert.equal(presence.awayMs(nowMs - 40 * dayMs), 0);
});

test('a clock that was a year ahead for an hour excuses nobody once it is right', async () => {
  const presence = await Presence.open(store, context);
  const sinceMs = nowMs;
  await stay(presence, 60);
  nowMs += 365 * dayMs;
  await presence.note();
  nowMs -= 365 * dayMs;
  await presence.note();
  await stay(presence, 60);
  assert.equal(presence.awayMs(sinceMs), 120 * minuteMs);
});

test('outages are bounded: the oldest are forgotten', async () => {
  let presence = await Presence.open(store, context);
  const sinceMs = nowMs;
  for (let n = 0; n < 150; n++) {
    nowMs += dayMs;
    presence = await Presence.open(store, context);
  }
  assert.equal(presence.awayMs(sinceMs), 50 * dayMs);
});
