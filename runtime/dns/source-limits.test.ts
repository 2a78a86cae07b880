import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPrivateSource, SourceLimits } from './source-limits.ts';

test('a source has so many a second, its whole /64 together; loopback is not counted', () => {
  const limits = new SourceLimits(2);
  const asked = (address: string, nowMs: number) => limits.admits(address, nowMs);
  assert.deepEqual(
    [1, 2, 3].map(() => asked('192.0.2.1', 500)),
    [true, true, false],
  );
  assert.ok(asked('192.0.2.2', 500));
  assert.ok(asked('192.0.2.1', 1_000));
  assert.deepEqual(
    ['1', '2', '3'].map((host) => asked(`2001:db8:1:2::${host}`, 1_000)),
    [true, true, false],
  );
  // The zeros of a network are left out, too; and a zone is none of it.
  assert.deepEqual(
    ['2001:db8::1', '2001:db8::2', '2001:db8:0:0:ffff::3'].map((address) => asked(address, 1_000)),
    [true, true, false],
  );
  assert.deepEqual(
    ['fe80::1%eth0', 'fe80::2%eth0', 'fe80::3'].map((address) => asked(address, 1_000)),
    [true, true, false],
  );
  assert.deepEqual(
    ['192.0.2.9', '::ffff:192.0.2.9', '192.0.2.9'].map((address) => asked(address, 1_000)),
    [true, true, false],
  );
  assert.ok(['127.0.0.1', '127.3.2.1', '::1', '::ffff:127.0.0.1'].every((one) => [1, 2, 3].every(() => asked(one, 0))));
});

test('sources beyond those that are counted share one count', () => {
  const limits = new SourceLimits(2);
  for (let index = 0; index < 10_000; index++) limits.admits(`10.${index >> 8}.${index & 0xff}.1`, 0);
  const others = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map((source) => limits.admits(source, 0));
  assert.deepEqual(others, [true, true, false]);
  assert.ok(limits.admits('10.0.0.1', 0));
});

test('who may ask for names of others', () => {
  const inside = [
    '127.0.0.1',
    '::1',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.9.9',
    '192.168.0.1',
    '100.64.0.1',
    '169.254.1.1',
  ];
  const alsoInside = ['fd00::1', 'fe80::1%eth0', '::ffff:10.0.0.1'];
  const outside = ['8.8.8.8', '172.32.0.1', '100.128.0.1', '2001:db8::1', '::ffff:8.8.8.8', '1.127.0.1'];
  assert.deepEqual(
    [...inside, ...alsoInside].filter((one) => !isPrivateSource(one)),
    [],
  );
  assert.deepEqual(outside.filter(isPrivateSource), []);
});
