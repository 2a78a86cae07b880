import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RequestLimiter } from './request-limiter.ts';

function limiter(perSecond: number, burst: number) {
  const time = { nowMs: 1_000_000 };
  const made = new RequestLimiter(() => time.nowMs);
  made.update({ perSecond, burst });
  return { made, time };
}

test('a burst, then so many a second, each caller for itself', () => {
  const { made, time } = limiter(2, 3);
  assert.deepEqual([made.take('a'), made.take('a'), made.take('a'), made.take('a')], [0, 0, 0, 500]);
  assert.equal(made.take('b'), 0);
  time.nowMs += 250;
  assert.equal(made.take('a'), 250);
  time.nowMs += 250;
  assert.deepEqual([made.take('a'), made.take('a')], [0, 500]);
  time.nowMs += 60_000;
  assert.deepEqual([made.take('a'), made.take('a'), made.take('a'), made.take('a')], [0, 0, 0, 500]);
  time.nowMs -= 30_000;
  assert.equal(made.take('a'), 500, 'a clock set back fills nothing');
  made.update({ perSecond: 4, burst: 3 });
  assert.equal(made.take('a'), 250);
  made.update(undefined);
  assert.equal(made.take('a'), 0);
});

test('whoever waits as long as it is told may then; over any time no more than burst and rate', () => {
  const waits = fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 20 }), waits, (perSecond, burst, pauses) => {
      const { made, time } = limiter(perSecond, burst);
      const beganMs = time.nowMs;
      let entered = 0;
      for (const pauseMs of pauses) {
        time.nowMs += pauseMs;
        const waitMs = made.take('a');
        if (waitMs === 0) entered += 1;
        assert.ok(entered <= burst + (perSecond * (time.nowMs - beganMs)) / 1_000 + 1e-6);
        if (waitMs === 0 || pauseMs % 2 === 0) continue;
        time.nowMs += waitMs;
        assert.equal(made.take('a'), 0);
        entered += 1;
      }
    }),
  );
});

test('callers are forgotten, oldest first, beyond a bound', () => {
  const { made } = limiter(1, 1);
  made.take('first');
  assert.notEqual(made.take('first'), 0);
  for (let other = 0; other < 4_096; other++) made.take(`other-${other}`);
  assert.equal(made.take('first'), 0);
});
