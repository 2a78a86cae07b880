import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { SigningQueue } from './signing-queue.ts';

/** A Vault that signs when told to. */
function slowVault() {
  const open: (() => void)[] = [];
  return {
    open,
    sign: () => new Promise<string>((resolve) => open.push(() => resolve('signed'))),
  };
}

const turns = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('8 sign, 128 wait for their turn in order, and who comes after is told when to come back', async () => {
  let nowMs = 0;
  const { open, sign } = slowVault();
  const queue = new SigningQueue(() => nowMs);
  const done: number[] = [];
  const asked = Array.from({ length: 136 }, (_, at) => queue.run(sign).then(() => done.push(at)));
  assert.equal(open.length, 8);
  const told: unknown[] = [];
  for (let late = 0; late < 400; late++) {
    await assert.rejects(queue.run(sign), (error) => {
      assert.ok(isMeshError(error, 'SLV-2160'));
      told.push(error.detail['retryAfterSeconds']);
      return true;
    });
  }
  // At 100 a second, which is assumed until something was signed: behind 128 that wait, one after the other.
  assert.deepEqual([told[0], told[100], told[399]], [2, 3, 6]);
  while (done.length < 136) {
    nowMs += 10;
    for (const finish of open.splice(0)) finish();
    await turns();
    assert.ok(open.length <= 8);
  }
  await Promise.all(asked);
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  const after = queue.run(sign);
  open[0]?.();
  assert.equal(await after, 'signed', 'there is room again');
});

test('a failure gives its place to the next', async () => {
  const queue = new SigningQueue();
  const { open, sign } = slowVault();
  const failing = Array.from({ length: 8 }, () => {
    const failed = Promise.withResolvers<string>();
    const run = queue.run(() => failed.promise);
    return { run, fail: () => failed.reject(new Error('no')) };
  });
  const next = queue.run(sign);
  for (const { run, fail } of failing) {
    fail();
    await assert.rejects(run, /no/);
  }
  await turns();
  assert.equal(open.length, 1);
  open[0]?.();
  assert.equal(await next, 'signed');
});
