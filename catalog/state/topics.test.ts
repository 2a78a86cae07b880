import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Topic, TopicIndex } from './topics.ts';

test('an index is never below 1 and never goes back, whatever happens to the topics', () => {
  const topics: Topic[] = ['service/a', 'service/b', 'nodes'];
  const step = fc.oneof(
    fc.record({ kind: fc.constant('touch' as const), topic: fc.constantFrom(...topics) }),
    fc.record({ kind: fc.constant('floor' as const) }),
    fc.record({ kind: fc.constant('nothing' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const index = new TopicIndex(2);
      const seen = new Map(topics.map((topic) => [topic, index.indexOf(topic)]));
      for (const [revision, one] of steps.entries()) {
        if (one.kind === 'touch') index.touch(one.topic);
        if (one.kind === 'floor') index.raiseFloor(revision + 2);
        else index.publish(revision + 2);
        for (const topic of topics) {
          assert.ok(index.indexOf(topic) >= Math.max(1, seen.get(topic) ?? 1));
          seen.set(topic, index.indexOf(topic));
        }
      }
    }),
  );
});

test('a change wakes those who wait for it and nobody else', () => {
  const index = new TopicIndex();
  const woken: string[] = [];
  index.subscribe('service/a', () => woken.push('a'));
  const stop = index.subscribe('service/b', () => woken.push('b'));
  index.touch('service/a');
  index.publish(5);
  assert.deepEqual(woken, ['a']);
  assert.equal(index.indexOf('service/a'), 5);
  assert.equal(index.indexOf('service/b'), 1);
  stop();
  index.touch('service/b');
  index.publish(6);
  assert.deepEqual(woken, ['a']);
  assert.equal(index.waiting, 1);
});
