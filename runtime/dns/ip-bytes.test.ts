import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hexOf, parseIpBytes, parseReverseName } from './ip-bytes.ts';

test('IP literals to bytes', () => {
  for (const [text, hex] of [
    ['10.0.0.1', '0a000001'],
    ['::', '0'.repeat(32)],
    ['::1', '1'.padStart(32, '0')],
    ['fd00::', 'fd'.padEnd(32, '0')],
    ['2001:db8::8:800:200c:417a', '20010db80000000000080800200c417a'],
    ['::ffff:10.0.0.1', '00000000000000000000ffff0a000001'],
    ['fe80::1%eth0', undefined],
    ['example.com', undefined],
    ['', undefined],
  ] as const) {
    const bytes = parseIpBytes(text);
    assert.equal(bytes && hexOf(bytes), hex, text);
  }
});

test('an address and its reverse name are the same bytes', () => {
  fc.assert(
    fc.property(fc.ipV6(), fc.ipV4(), (six, four) => {
      const [long, short] = [parseIpBytes(six), parseIpBytes(four)];
      assert.ok(long !== undefined && short !== undefined);
      assert.deepEqual(
        hexOf(parseReverseName([...[...hexOf(long)].reverse(), 'ip6', 'arpa']) ?? long.slice(1)),
        hexOf(long),
      );
      assert.deepEqual(parseReverseName([...four.split('.').reverse(), 'in-addr', 'arpa']), short);
    }),
  );
});
