import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import fc from 'fast-check';
import { ReadyTimer } from './ready-timer.ts';

const keepingAlive = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;

test('one that is ready is used for the next of its duration, and keeps the process alive only while it runs', () => {
  const before = keepingAlive();
  const first = ReadyTimer.start(60_000, assert.fail);
  assert.equal(keepingAlive(), before + 1);
  first.stop();
  assert.equal(keepingAlive(), before);
  const again = ReadyTimer.start(60_000, assert.fail);
  assert.equal(again, first);
  assert.equal(keepingAlive(), before + 1);
  again.stop();
  const other = ReadyTimer.start(50_000, assert.fail);
  assert.notEqual(other, first);
  assert.equal(keepingAlive(), before + 1);
  other.stop();
  assert.equal(keepingAlive(), before);
});

test('whatever begins, is stopped, runs out and is used again: who was not stopped is called, once and not early, and who was stopped is not', {
  timeout: 20_000,
}, async () => {
  const plan = fc.record({
    beginsMs: fc.constantFrom(0, 10, 30),
    timeoutMs: fc.constantFrom(5, 20),
    stopsMs: fc.option(fc.constantFrom(0, 2, 10, 30)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(plan, { maxLength: 30 }), async (plans) => {
      await Promise.all(
        plans.map(async ({ beginsMs, timeoutMs, stopsMs }) => {
          await wait(beginsMs);
          const begun = performance.now();
          const calls: number[] = [];
          const called = Promise.withResolvers<void>();
          const timer = ReadyTimer.start(timeoutMs, () => {
            calls.push(performance.now() - begun);
            called.resolve();
          });
          await (stopsMs === null ? called.promise : wait(stopsMs));
          const atStop = calls.length;
          timer.stop();
          await wait(timeoutMs * 2);
          assert.equal(calls.length, atStop);
          for (const after of calls) assert.ok(after >= timeoutMs - 2, `${after} ms`);
        }),
      );
    }),
    { numRuns: 4 },
  );
});
