import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { contextTag, DerReader, derTag, openDer } from './der.ts';
import {
  derBitString,
  derBoolean,
  derExplicit,
  derNamedBits,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUnsigned,
  derUtf8,
  derValue,
  toPem,
} from './der-writer.ts';
import { isMeshError } from './errors/mesh-error.ts';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const reader = (hex: string) => new DerReader(bytes(hex));
const refuses = (read: () => unknown, flaw: RegExp) =>
  assert.throws(read, (error) => isMeshError(error, 'SLV-5007') && flaw.test(error.message));

test('lengths are definite, minimal and within what is there', () => {
  refuses(() => reader('04 80 0000').read(derTag.octetString), /indefinite/);
  refuses(() => reader('04 81 05 0000000000').read(derTag.octetString), /not minimal/);
  refuses(() => reader('04 82 0080 00').read(derTag.octetString), /not minimal/);
  refuses(() => reader('04 84 00000001 00').read(derTag.octetString), /over the limit/);
  refuses(() => reader('04 05 00').read(derTag.octetString), /beyond its end/);
  refuses(() => reader('04 82 01').read(derTag.octetString), /truncated/);
  refuses(() => reader('04').read(derTag.octetString), /truncated/);
  refuses(() => reader('').read(derTag.octetString), /missing/);
  refuses(() => reader('1f 20 00').readAny(), /several bytes/);
  refuses(() => reader('05 00').read(derTag.octetString), /tag 0x05 where 0x04/);
  refuses(() => openDer(bytes('30 00 00')), /after the value/);
  // A value may not run out of the value that holds it, though there are bytes behind.
  refuses(() => reader('30 02 04 03 aabbcc').enter(derTag.sequence).read(derTag.octetString), /beyond its end/);
});

test('nesting and size are bounded', () => {
  let deep: Uint8Array = derNull();
  for (let level = 0; level < 40; level++) deep = derSequence(deep);
  refuses(() => {
    let inner = new DerReader(deep);
    while (inner.nextTag === derTag.sequence) inner = inner.enter(derTag.sequence);
  }, /deeper/);
  refuses(() => new DerReader(new Uint8Array(65_537)), /over the limit/);
});

test('types have one encoding', () => {
  refuses(() => reader('01 01 01').boolean(), /BOOLEAN/);
  refuses(() => reader('01 02 0000').boolean(), /BOOLEAN/);
  refuses(() => reader('02 00').integerBytes(), /empty INTEGER/);
  refuses(() => reader('02 02 0001').integerBytes(), /not minimal/);
  refuses(() => reader('02 02 ff80').integerBytes(), /not minimal/);
  refuses(() => reader('02 01 80').smallInteger(), /out of range/);
  refuses(() => reader('02 05 0100000000').smallInteger(), /out of range/);
  refuses(() => reader('03 00').bitString(), /BIT STRING/);
  refuses(() => reader('03 02 08 00').bitString(), /BIT STRING/);
  refuses(() => reader('03 02 01 01').bitString(), /padding/);
  refuses(() => reader('03 01 01').bitString(), /padding/);
  refuses(() => reader('06 00').oid(), /truncated/);
  refuses(() => reader('06 02 2a 86').oid(), /truncated/);
  refuses(() => reader('06 03 2a 80 01').oid(), /not minimal/);
  refuses(() => reader('06 06 2a ffffffff7f').oid(), /out of range/);
  assert.equal(reader('06 03 551d11').oid(), '2.5.29.17');
  assert.equal(reader('06 03 813403').oid(), '2.100.3');
  assert.equal(reader('02 04 7fffffff').smallInteger(), 0x7fff_ffff);
});

test('times are of the one form that RFC 5280 allows, and exist', () => {
  const time = (tag: number, text: string) => new DerReader(derValue(tag, new TextEncoder().encode(text))).timeMs();
  assert.equal(time(derTag.utcTime, '491231235959Z'), Date.UTC(2049, 11, 31, 23, 59, 59));
  assert.equal(time(derTag.utcTime, '500101000000Z'), Date.UTC(1950, 0, 1));
  assert.equal(time(derTag.generalizedTime, '20500101000000Z'), Date.UTC(2050, 0, 1));
  assert.equal(time(derTag.generalizedTime, '99991231235959Z'), Date.UTC(9999, 11, 31, 23, 59, 59));
  for (const text of [
    '2601010000Z',
    '260101000000',
    '260101000000+0100',
    '260230000000Z',
    '260101240000Z',
    '260101006000Z',
    '261301000000Z',
    '26010100000\u00b2Z',
  ]) {
    refuses(() => time(derTag.utcTime, text), /bad time/);
  }
  refuses(() => time(derTag.generalizedTime, '20260101000000.5Z'), /bad time/);
  refuses(() => time(derTag.octetString, '260101000000Z'), /bad time/);
});

test('property: what the writer writes, the reader reads', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.boolean(),
      fc.tuple(fc.nat(39), fc.array(fc.nat(0x7fff_ff00), { maxLength: 8 })),
      fc.integer({ min: Date.UTC(1950, 0, 1), max: Date.UTC(2149, 0, 1) }),
      fc.uniqueArray(fc.nat(8), { minLength: 1 }),
      (octets, flag, [second, arcs], timeMs, bits) => {
        const oid = [1, second, ...arcs].join('.');
        const document = derSequence(
          derOctetString(octets),
          derBoolean(flag),
          derUnsigned(octets),
          derOid(oid),
          derTime(timeMs),
          derNamedBits(...bits),
          derExplicit(3, derNull()),
        );
        const read = openDer(document);
        assert.deepEqual(read.read(derTag.octetString), octets);
        assert.equal(read.boolean(), flag);
        const hex = Buffer.from(octets).toString('hex').replace(/^0+/, '');
        assert.equal(Buffer.from(read.integerBytes()).toString('hex').replace(/^0+/, ''), hex);
        assert.equal(read.oid(), oid);
        assert.equal(read.timeMs(), Math.floor(timeMs / 1_000) * 1_000);
        const { bytes: named } = read.bitString();
        assert.deepEqual(
          Array.from({ length: 9 }, (_, bit) => bit).filter(
            (bit) => ((named[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0,
          ),
          bits.toSorted((a, b) => a - b),
        );
        const inner = read.enter(contextTag(3, true));
        assert.equal(inner.read(derTag.null).length, 0);
        inner.finish();
        read.finish();
      },
    ),
  );
});

test('lengths of every size, sets in order, PEM, text', () => {
  for (const length of [0, 127, 128, 255, 256, 65_000]) {
    assert.equal(new DerReader(derOctetString(new Uint8Array(length))).read(derTag.octetString).length, length);
  }
  assert.equal(Buffer.from(derSet(derUtf8('b'), derUtf8('a'))).toString('hex'), '31060c01610c0162');
  assert.equal(Buffer.from(derBitString(bytes('a0'), 5)).toString('hex'), '030205a0');
  assert.equal(toPem('X', new Uint8Array(48)), `-----BEGIN X-----\n${'A'.repeat(64)}\n-----END X-----\n`);
  for (const dotted of ['', '1', '3.1', '1.40', '1.2.-3', '1.2.x', '1.2.03'])
    assert.throws(() => derOid(dotted), /object identifier/);
});

test('property: no bytes make the reader throw anything but SLV-5007, or go on for ever', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
      try {
        walk(new DerReader(octets), { left: 1_000 });
      } catch (error) {
        assert.ok(isMeshError(error, 'SLV-5007'), String(error));
      }
    }),
  );
});

function walk(at: DerReader, steps: { left: number }): void {
  while (!at.atEnd) {
    assert.ok(steps.left-- > 0, 'no progress');
    const tag = at.nextTag ?? 0;
    if ((tag & 0x20) !== 0) walk(at.enter(tag), steps);
    else at.readAny();
  }
}
