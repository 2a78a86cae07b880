import assert from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { test } from 'node:test';
import { sideBySide, signSideBySide, useThreads, verifySideBySide } from './side-by-side.ts';

useThreads(true);

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const data = Buffer.from('what is signed');

/** Whether something comes only after all that was due already: it was not computed at once. */
async function waits(work: () => Promise<unknown>): Promise<boolean> {
  let turned = false;
  process.nextTick(() => {
    turned = true;
  });
  await work();
  return turned;
}

test('one order is served at once, two are beside one another, and one that failed is none', async () => {
  const sign = () => signSideBySide('sha256', data, privateKey);
  assert.equal(await waits(sign), false);
  assert.equal(await waits(() => sideBySide(sign)), false);
  // The first does not know yet that another will come.
  assert.deepEqual(await Promise.all([sideBySide(() => waits(sign)), sideBySide(() => waits(sign))]), [false, true]);
  await assert.rejects(
    sideBySide(() => Promise.reject(new Error('refused'))),
    /refused/,
  );
  assert.equal(await waits(() => sideBySide(sign)), false);
});

test('without threads all is served at once', async () => {
  useThreads(false);
  const order = () => sideBySide(() => waits(() => signSideBySide('sha256', data, privateKey)));
  assert.deepEqual(await Promise.all([order(), order()]), [false, false]);
  useThreads(true);
});

test('what is signed verifies, whoever computes it', async () => {
  const order = async (): Promise<void> => {
    const signature = await signSideBySide('sha256', data, privateKey);
    assert.equal(verify('sha256', data, publicKey, signature), true);
    assert.equal(await verifySideBySide('sha256', data, publicKey, signature), true);
    assert.equal(await verifySideBySide('sha256', Buffer.from('What is signed'), publicKey, signature), false);
  };
  await sideBySide(order);
  await Promise.all(Array.from({ length: 20 }, () => sideBySide(order)));
});

test('a failure of OpenSSL is a failure, whoever computes it', async () => {
  const order = () => signSideBySide('sha256', data, publicKey);
  await assert.rejects(sideBySide(order));
  for (const { status } of await Promise.allSettled([sideBySide(order), sideBySide(order)]))
    assert.equal(status, 'rejected');
});
