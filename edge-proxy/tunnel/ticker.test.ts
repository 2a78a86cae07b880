import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '#test/wait-for.ts';
import { everySecond } from './ticker.ts';

test('each is called about once a second, not all in one turn, and not once it is over', async () => {
  const calledAtMs = [0, 1, 2].map((): number[] => []);
  const stops = calledAtMs.map((times) => everySecond(() => times.push(performance.now())));
  await waitFor(
    'the first two to be called twice',
    () => calledAtMs.slice(0, 2).every((times) => times.length >= 2),
    10_000,
  );
  const [first = [], second = []] = calledAtMs;
  for (const [one = 0, two = 0] of [first, second]) assert.ok(two - one > 500, `${two - one} ms`);
  assert.ok(Math.abs((second[0] ?? 0) - (first[0] ?? 0)) > 20, 'in turns of their own');
  for (const stop of stops.slice(1)) stop();
  const before = Math.max(first.length, second.length);
  await waitFor('the first to be called again', () => first.length > before, 10_000);
  assert.ok(second.length <= before);
  stops[0]?.();
});
