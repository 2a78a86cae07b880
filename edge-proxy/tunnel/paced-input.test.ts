import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { FairTurns } from './fair-turns.ts';
import { PacedInput } from './paced-input.ts';

/** Each frame is one octet, and costs a tenth of a millisecond: a slice of 0.25 ms is over with the first four. */
const frameMs = 0.1;

suite('what a connection receives', () => {
  let nowMs: number;
  let read: string;
  let held: boolean[];
  let scheduled: Array<() => void>;
  let input: PacedInput;

  beforeEach(() => {
    nowMs = 0;
    read = '';
    held = [];
    scheduled = [];
    input = new PacedInput({
      source: 'peer',
      turns: new FairTurns((next) => scheduled.push(next)),
      now: () => nowMs,
      read(chunk, offset, frames) {
        const end = Math.min(chunk.length, offset + frames);
        nowMs += (end - offset) * frameMs;
        read += chunk.toString('latin1', offset, end);
        return end;
      },
      hold: (wanted) => held.push(wanted),
    });
  });

  const turn = (): void => {
    for (const next of scheduled.splice(0)) next();
  };
  const receive = (text: string): void => input.receive(Buffer.from(text));

  test('is read at once when it is little', () => {
    receive('ab');
    turn();
    receive('cd');
    assert.equal(read, 'abcd');
    assert.deepEqual(held, []);
  });

  test('is read a slice a turn when it is much, and nobody brings more meanwhile', () => {
    receive('abcdefghij');
    assert.equal(read, 'abcd');
    assert.deepEqual(held, [true]);
    turn();
    assert.equal(read, 'abcdefgh');
    turn();
    assert.equal(read, 'abcdefghij');
    assert.deepEqual(held, [true, false]);
  });

  test('is one slice, however small the pieces in which it comes in one turn', () => {
    for (const piece of 'abcdefghij') receive(piece);
    assert.equal(read, 'abc');
    turn();
    assert.equal(read, 'abcdef');
    for (let turns = 0; turns < 3; turns++) turn();
    assert.equal(read, 'abcdefghij');
    assert.deepEqual(held, [true, false]);
  });

  test('stays in order with what comes nevertheless', () => {
    receive('abcdef');
    receive('ghi');
    for (let turns = 0; turns < 3; turns++) turn();
    assert.equal(read, 'abcdefghi');
  });

  test('is read to its end before the end is told', () => {
    let ended = 0;
    const finish = (): void => input.finish(() => (ended += 1));
    receive('abcdef');
    finish();
    assert.equal(ended, 0);
    turn();
    assert.equal(read, 'abcdef');
    assert.equal(ended, 1);
    finish();
    assert.equal(ended, 2);
  });

  test('is read by nobody once it is discarded', () => {
    receive('abcdef');
    input.discard();
    turn();
    assert.equal(read, 'abcd');
    assert.deepEqual(held, [true]);
  });
});
