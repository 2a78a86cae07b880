import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { afterStep, type KeyState, nextKeyStep, type StatefulKey } from './key-plan.ts';

const timing = { rotateAfterMs: 1_000, publishedMs: 180, retiredMs: 400 };
const key = (kid: string, kind: KeyState['kind'], sinceMs = 0): StatefulKey => ({
  kid,
  state: kind === 'prepared' ? { kind } : { kind, sinceMs },
});

test('each state has its step, when it is due', () => {
  for (const [keys, step, dueAtMs] of [
    [[], { kind: 'begin' }, 0],
    [[key('a', 'retired', 5)], { kind: 'begin' }, 0],
    [[key('a', 'prepared')], { kind: 'publish', kid: 'a' }, 0],
    [[key('a', 'published', 5)], { kind: 'activate', kid: 'a' }, 185],
    [[key('a', 'active', 5)], { kind: 'prepare' }, 1_005],
    [[key('a', 'active', 5), key('b', 'prepared')], { kind: 'publish', kid: 'b' }, 0],
    [[key('a', 'active', 5), key('b', 'published', 2_000)], { kind: 'activate', kid: 'b' }, 2_180],
    [[key('a', 'retired', 3_000), key('b', 'active', 3_000)], { kind: 'drop', kid: 'a' }, 3_400],
  ] as const) {
    assert.deepEqual(nextKeyStep(keys, timing), { step, dueAtMs });
  }
});

test('over any time: one key signs, it was published long enough, and no key leaves before what it signed has expired', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(400), { minLength: 20, maxLength: 80 }), (delays) => {
      let nowMs = 10_000;
      let made = 0;
      let keys: readonly StatefulKey[] = [];
      const publishedAt = new Map<string, number>();
      const signedUntil = new Map<string, number>();
      for (const delayMs of delays) {
        const { step, dueAtMs } = nextKeyStep(keys, timing);
        nowMs = Math.max(nowMs, dueAtMs) + delayMs;
        if (step.kind === 'begin' || step.kind === 'prepare') {
          made += 1;
          keys = [...keys, key(`k${made}`, step.kind === 'begin' ? 'active' : 'prepared', nowMs)];
        } else {
          if (step.kind === 'publish') publishedAt.set(step.kid, nowMs);
          if (step.kind === 'activate') {
            assert.ok(nowMs - (publishedAt.get(step.kid) ?? nowMs) >= timing.publishedMs);
            for (const { kid, state } of keys) if (state.kind === 'active') signedUntil.set(kid, nowMs);
          }
          if (step.kind === 'drop') assert.ok(nowMs - (signedUntil.get(step.kid) ?? nowMs) >= timing.retiredMs);
          keys = afterStep(keys, step, nowMs);
        }
        assert.equal(keys.filter(({ state }) => state.kind === 'active').length, 1);
        assert.ok(keys.length <= 4);
      }
    }),
    { numRuns: 100 },
  );
});
