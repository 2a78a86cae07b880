import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ReadQuery, readQuery } from './query.ts';
import { queryBytes } from './testing/query-bytes.ts';

const bytes = (hex: string): Uint8Array => Buffer.from(hex.replace(/\s/g, ''), 'hex');
const summary = (read: ReadQuery): string => (read.kind === 'faulty' ? read.code : read.kind);
const header = '1234 0100 0001 0000 0000 0000';
const question = '03 777777 06 636f6e73756c 00 0001 0001';
const opt = '00 0029 04d0 00 00 0000 0000';

describe('what a query is', () => {
  for (const [what, message, expected] of [
    ['a question', `${header} ${question}`, 'query'],
    ['a question with EDNS', `1234 0100 0001 0000 0000 0001 ${question} ${opt}`, 'query'],
    ['shorter than a header', '1234 0100 0001', 'dropped'],
    ['an answer: two servers would answer each other for ever', `1234 8100 0001 0000 0000 0000 ${question}`, 'dropped'],
    ['an update', `1234 2800 0001 0000 0000 0000 ${question}`, 'NOTIMP'],
    ['a header alone', header.replace('0001', '0000'), 'FORMERR'],
    ['a question that is not there', header, 'FORMERR'],
    ['two questions', `1234 0100 0002 0000 0000 0000 ${question} ${question}`, 'FORMERR'],
    ['an answer section', `1234 0100 0001 0001 0000 0000 ${question}`, 'FORMERR'],
    ['a name that points at itself', `${header} c00c 0001 0001`, 'FORMERR'],
    ['a label of 64 bytes', `${header} 40 ${'61'.repeat(64)} 00 0001 0001`, 'FORMERR'],
    ['a label that leaves the message', `${header} 3f 6161`, 'FORMERR'],
    ['a name without an end', `${header} 0161`, 'FORMERR'],
    ['a name of 256 bytes', `${header} ${`3f${'61'.repeat(63)}`.repeat(4)} 00 0001 0001`, 'FORMERR'],
    ['no class', `${header} 0161 00 0001`, 'FORMERR'],
    ['bytes behind the end', `${header} ${question} 00`, 'FORMERR'],
    ['an OPT record that is cut', `1234 0100 0001 0000 0000 0001 ${question} 00 0029 04d0`, 'FORMERR'],
    ['two OPT records', `1234 0100 0001 0000 0000 0002 ${question} ${opt} ${opt}`, 'FORMERR'],
    ['an OPT record of a name', `1234 0100 0001 0000 0000 0001 ${question} 0161 ${opt}`, 'FORMERR'],
    ['more records than there are', `1234 0100 0001 0000 0000 ffff ${question}`, 'FORMERR'],
  ] as const) {
    test(what, () => assert.equal(summary(readQuery(bytes(message))), expected));
  }
});

test('the name is read in lower case, the question is kept as it came', () => {
  const read = readQuery(queryBytes({ name: ['wWw', 'a.b', 'CONSUL'], type: 33, payloadBytes: 4_096 }));
  assert.ok(read.kind === 'query');
  const { name, type, wire } = read.query.question;
  assert.deepEqual([name, type], [['www', 'a.b', 'consul'], 33]);
  assert.match(Buffer.from(wire).toString('latin1'), /wWw.*CONSUL/s);
  assert.deepEqual(read.query.edns, { version: 0, payloadBytes: 4_096 });
});

test('whatever the bytes, it is one of the three', () => {
  const near = fc
    .tuple(fc.uint8Array({ maxLength: 600 }), fc.nat(600), fc.uint8Array({ maxLength: 8 }))
    .map(([tail, at, patch]) => {
      const message = Buffer.concat([bytes(`1234 0100 0001 0000 0000 0001 ${question} ${opt}`), tail]);
      message.set(patch.subarray(0, Math.max(0, message.length - at)), Math.min(at, message.length));
      return message;
    });
  const check = (message: Uint8Array): void => {
    const read = readQuery(message);
    if (read.kind !== 'query') return;
    const { name, wire } = read.query.question;
    assert.ok(name.every((label) => label.length >= 1 && label.length <= 63));
    assert.ok(wire.length <= 259);
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1_500 }), check), { numRuns: 2_000 });
  fc.assert(fc.property(near, check), { numRuns: 2_000 });
});
