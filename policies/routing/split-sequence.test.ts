import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ShareSequence, SplitSequence } from './split-sequence.ts';

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

const taken = (sequence: ShareSequence, of: number): number => {
  let count = 0;
  for (let made = 0; made < of; made++) if (sequence.next()) count += 1;
  return count;
};

test('a share is exact to a hundredth of a percent of any 10,000 in a row, and near on any stretch', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 10_000 }),
      chance,
      fc.integer({ min: 0, max: 300 }),
      (hundredths, start, n) => {
        const sequence = new ShareSequence(hundredths / 10_000, start);
        assert.ok(Math.abs(taken(sequence, n) - (n * hundredths) / 10_000) < 8);
        assert.equal(taken(sequence, 10_000), hundredths);
      },
    ),
    { numRuns: 60 },
  );
});

test('a share finer than that is exact in the long run', () => {
  for (const [share, of, expected] of [
    [0.000_05, 200_000, 10],
    [0.123_45, 200_000, 24_690],
    [1e-9, 100_000, 0],
    [1 / 3, 300_000, 100_000],
    [1, 1_000, 1_000],
  ] as const) {
    const count = taken(new ShareSequence(share, 0.7), of);
    assert.ok(Math.abs(count - expected) <= 1, `${count} of ${of} for ${share}`);
  }
});
