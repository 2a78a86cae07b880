import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SplitSequence } from './split-sequence.ts';

/** Weights that come to 10,000: the gaps between cuts. */
const weights = fc.uniqueArray(fc.integer({ min: 0, max: 10_000 }), { maxLength: 12 }).map((cuts) => {
  const ends = [...cuts.toSorted((a, b) => a - b), 10_000];
  return ends.map((end, at) => end - (ends[at - 1] ?? 0));
});
const chance = fc.integer({ min: 0, max: 9_999 }).map((place) => place / 10_000);

test('of any 10,000 choices in a row each weight gets exactly its own, and of fewer very nearly', () => {
  fc.assert(
    fc.property(weights, chance, fc.integer({ min: 0, max: 300 }), (of, start, before) => {
      const sequence = new SplitSequence(of, start);
      for (let skipped = 0; skipped < before; skipped++) sequence.next();
      const counts = of.map(() => 0);
      for (let made = 1; made <= 10_000; made++) {
        const chosen = sequence.next();
        counts[chosen] = (counts[chosen] ?? 0) + 1;
        if (made % 97 !== 0) continue;
        for (const [at, weight] of of.entries()) {
          const due = (made * weight) / 10_000;
          assert.ok(Math.abs((counts[at] ?? 0) - due) < 8, `${counts[at]} of ${made} for ${weight}`);
        }
      }
      assert.deepEqual(counts, [...of]);
    }),
    { numRuns: 40 },
  );
});

test('one in a hundred comes alone, not in a bunch', () => {
  const sequence = new SplitSequence([9_900, 100], 0.3);
  const at = Array.from({ length: 10_000 }, (_, made) => (sequence.next() === 1 ? made : -1)).filter(
    (made) => made >= 0,
  );
  const gaps = at.slice(1).map((made, index) => made - (at[index] ?? 0));
  assert.equal(at.length, 100);
  assert.ok(Math.min(...gaps) >= 50 && Math.max(...gaps) <= 250, `${Math.min(...gaps)} … ${Math.max(...gaps)}`);
});
