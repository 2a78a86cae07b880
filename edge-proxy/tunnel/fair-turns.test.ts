import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairTurns } from './fair-turns.ts';

/** An event loop that the test turns. */
function byHand(): { turns: FairTurns; turn(): void; idle(): boolean } {
  let scheduled: Array<() => void> = [];
  const turns = new FairTurns((next) => scheduled.push(next));
  return {
    turns,
    turn() {
      const due = scheduled;
      scheduled = [];
      for (const next of due) next();
    },
    idle: () => scheduled.length === 0,
  };
}

test('one goes on in each turn, and the sources take turns, whatever each has in the line', () => {
  const { turns, turn, idle } = byHand();
  const told: string[] = [];
  const work = (source: string, name: string, slices: number): void => {
    let left = slices;
    turns.enqueue({
      source,
      goOn() {
        told.push(name);
        left -= 1;
        if (left > 0) turns.enqueue(this);
      },
    });
  };
  work('crowd', 'a', 2);
  work('crowd', 'b', 2);
  work('crowd', 'c', 1);
  work('other', 'x', 2);
  for (const expected of ['a', 'x', 'b', 'x', 'c', 'a', 'b']) {
    turn();
    assert.equal(told.splice(0).join(), expected);
  }
  turn();
  assert.ok(idle(), 'an empty line wakes nobody');
});

test('a turn has one number, and the next another', () => {
  const { turns, turn } = byHand();
  const first = turns.turn;
  assert.equal(turns.turn, first);
  turn();
  assert.notEqual(turns.turn, first);
});

test('one that throws takes nobody with it', () => {
  const { turns, turn } = byHand();
  let others = 0;
  turns.enqueue({
    source: 'one',
    goOn() {
      throw new RangeError('broken');
    },
  });
  turns.enqueue({
    source: 'other',
    goOn() {
      others += 1;
    },
  });
  assert.throws(turn, RangeError);
  turn();
  assert.equal(others, 1);
});
