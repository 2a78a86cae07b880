import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Intention } from './intention.ts';
import { compareIntentions, consultedIntention, precedenceOf } from './intention-precedence.ts';

const intention = (source: string, destination: string, modifyIndex = 1): Intention => ({
  source,
  destination,
  action: 'allow',
  precedence: precedenceOf(source, destination),
  createdAtMs: 0,
  updatedAtMs: 0,
  createIndex: 1,
  modifyIndex,
});

test("Consul's numbers", () => {
  assert.equal(precedenceOf('web', 'db'), 9);
  assert.equal(precedenceOf('*', 'db'), 8);
  assert.equal(precedenceOf('web', '*'), 6);
  assert.equal(precedenceOf('*', '*'), 5);
});

test('the most exact destination wins, then the most exact source', () => {
  const all = [intention('*', '*'), intention('web', '*'), intention('*', 'db'), intention('web', 'db')];
  const ordered = all.toSorted(compareIntentions);
  const pairs = (source: string) => {
    const found = consultedIntention(ordered, source, 'db');
    return `${found?.source} ${found?.destination}`;
  };
  assert.equal(pairs('web'), 'web db');
  assert.equal(pairs('api'), '* db');
  assert.equal(consultedIntention(ordered, 'web', 'cache'), all[1]);
  assert.equal(consultedIntention(ordered, 'api', 'cache'), all[0]);
  assert.equal(consultedIntention([], 'api', 'cache'), undefined);
});

test('property: the order is total, and does not depend on the order of writing', () => {
  const name = fc.constantFrom('*', 'a', 'b', 'web', 'Web');
  const some = fc.uniqueArray(fc.tuple(name, name), { selector: (pair) => pair.join(' ') });
  fc.assert(
    fc.property(some, fc.infiniteStream(fc.nat()), (pairs, seeds) => {
      const list = pairs.map(([source, destination]) => intention(source, destination));
      for (const a of list) {
        for (const b of list) {
          assert.equal(Math.sign(compareIntentions(a, b)), 0 - Math.sign(compareIntentions(b, a)));
          assert.equal(compareIntentions(a, b) === 0, a === b);
        }
      }
      const shuffled = list
        .map((item) => ({ item, key: seeds.next().value }))
        .toSorted((a, b) => Number(a.key) - Number(b.key));
      assert.deepEqual(shuffled.map(({ item }) => item).toSorted(compareIntentions), list.toSorted(compareIntentions));
    }),
  );
});
