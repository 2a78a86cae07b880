import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atTurnEnd, connectionTaken } from './turn.ts';

/** How many turns of the event loop end before `callback` is called, where `each` happens in every one of them. */
async function turnsUntilCalled(each: () => void): Promise<number> {
  let called = false;
  let turns = 0;
  atTurnEnd(() => {
    called = true;
  });
  while (!called) {
    each();
    await new Promise((resolve) => setImmediate(resolve));
    turns += 1;
  }
  return turns;
}

test('the end of a turn is waited for, while connections are taken that of the next ones, and not for ever', async () => {
  const seen: string[] = [];
  atTurnEnd(() => seen.push('first'));
  atTurnEnd(() => seen.push('second'));
  assert.deepEqual(seen, []);
  assert.equal(await turnsUntilCalled(() => {}), 1);
  assert.deepEqual(seen, ['first', 'second']);
  let connections = 1;
  assert.equal(await turnsUntilCalled(() => connections-- > 0 && connectionTaken()), 2);
  assert.equal(await turnsUntilCalled(connectionTaken), 4);
  assert.equal(await turnsUntilCalled(() => {}), 1);
});
