import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { seal, unseal } from './sealed-file.ts';

const passphrase = 'correct horse battery staple';
const refused = (error: unknown): boolean => isMeshError(error, 'SLV-2186');

test('what was sealed is opened by its passphrase and by no other; no two are alike', async () => {
  const secret = Buffer.from('the key of the CA'.repeat(100));
  const [one, other] = await Promise.all([seal(secret, passphrase), seal(secret, passphrase)]);
  assert.notDeepEqual(one, other);
  assert.ok(!one.includes('the key of the CA'));
  assert.deepEqual(await unseal(one, passphrase), secret);
  await assert.rejects(unseal(one, `${passphrase} `), refused);
});

test('a changed byte anywhere, a missing or a further one is refused', async () => {
  const sealed = await seal(Buffer.from('x'), passphrase);
  for (const at of [0, sealed.length - 1]) {
    const spoiled = Buffer.from(sealed);
    spoiled[at] = (spoiled[at] ?? 0) ^ 1;
    await assert.rejects(unseal(spoiled, passphrase), refused, `byte ${at}`);
  }
  for (const spoiled of [Buffer.concat([sealed, Buffer.of(0)]), Buffer.of(), sealed.subarray(0, 30)]) {
    await assert.rejects(unseal(spoiled, passphrase), refused, `${spoiled.length} bytes`);
  }
});

test('a short passphrase is no passphrase', async () => {
  await assert.rejects(seal(Buffer.of(1), 'short'), (error) => isMeshError(error, 'SLV-1002'));
});
