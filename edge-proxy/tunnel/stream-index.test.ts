import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { StreamIndex } from './stream-index.ts';

test('whatever opens and closes, it is what a Map is', () => {
  // Few places for many identifiers: most collide, as after a long life with some streams that stay open.
  const id = fc.oneof(
    fc.nat(300).map((n) => n * 2 + 1),
    fc.nat(6).map((n) => n * 128 + 1),
    fc.constantFrom(2 ** 31 - 1, 2 ** 31 - 3),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), id), { maxLength: 200 }), (steps) => {
      const ours = new StreamIndex<{ id: number }>();
      const theirs = new Map<number, { id: number }>();
      for (const [opens, streamId] of steps) {
        if (!opens) {
          ours.delete(streamId);
          theirs.delete(streamId);
        } else if (!theirs.has(streamId)) {
          const stream = { id: streamId };
          ours.add(streamId, stream);
          theirs.set(streamId, stream);
        }
        assert.equal(ours.get(streamId), theirs.get(streamId));
        assert.equal(ours.size, theirs.size);
      }
      for (const [streamId, stream] of theirs) assert.equal(ours.get(streamId), stream);
      assert.deepEqual(new Set(ours.all()), new Set(theirs.values()));
      assert.deepEqual(new Set(ours.takeAll()), new Set(theirs.values()));
      assert.deepEqual([ours.size, ours.all()], [0, []]);
      for (const streamId of theirs.keys()) ours.delete(streamId);
      assert.equal(ours.size, 0);
    }),
    { numRuns: 300 },
  );
});
