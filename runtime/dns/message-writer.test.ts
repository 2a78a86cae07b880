import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Answer, emptyAnswer, writeAnswer, writeTruncated } from './message-writer.ts';
import type { DnsName } from './protocol.ts';
import { type Query, readQuery } from './query.ts';
import type { DnsRecord } from './records.ts';
import { queryBytes } from './testing/query-bytes.ts';

const options = { maxBytes: 65_535, recursionAvailable: false, stale: false };

function query(payloadBytes?: number): Query {
  const read = readQuery(queryBytes({ name: ['Web', 'consul'], type: 33, ...(payloadBytes && { payloadBytes }) }));
  assert.ok(read.kind === 'query');
  return read.query;
}

const srv = (target: DnsName): DnsRecord => ({
  owner: undefined,
  ttlSeconds: 1,
  type: 'SRV',
  priority: 1,
  weight: 1,
  port: 80,
  target,
});
const address = (owner: DnsName): DnsRecord => ({
  owner,
  ttlSeconds: 1,
  type: 'A',
  address: Uint8Array.of(10, 0, 0, 1),
});
function answer(count: number): Answer {
  const names = Array.from({ length: count }, (_, index) => [`node-${index}`, 'consul']);
  return { ...emptyAnswer('NOERROR'), answers: names.map(srv), additional: names.map(address) };
}

/** Counts of question, answer, authority and additional section, and whether TC is set. */
function shape(message: Uint8Array): { counts: number[]; truncated: boolean } {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const counts = [4, 6, 8, 10].map((at) => view.getUint16(at));
  return { counts, truncated: (view.getUint16(2) & 0x0200) !== 0 };
}

test('owner names are pointers: to the question, to the target of an SRV record', () => {
  const message = Buffer.from(writeAnswer(query(), answer(1), options));
  const target = message.indexOf('node-0', 12, 'latin1') - 1;
  assert.equal(message.indexOf('node-0', target + 2, 'latin1'), -1);
  assert.equal(message.readUInt16BE(message.length - 16), 0xc000 | target);
  assert.equal(message.readUInt16BE(12 + 'Web.consul'.length + 2 + 4), 0xc00c);
});

test('what is additional is left out before anything is cut, and only a cut answer says so', () => {
  const whole = writeAnswer(query(4_096), answer(10), options);
  assert.deepEqual(shape(whole), { counts: [1, 10, 0, 11], truncated: false });
  const less = writeAnswer(query(4_096), answer(10), { ...options, maxBytes: whole.length - 1 });
  assert.deepEqual(shape(less), { counts: [1, 10, 0, 10], truncated: false });
  const cut = writeAnswer(query(512), answer(100), { ...options, maxBytes: 512 });
  const { counts, truncated } = shape(cut);
  assert.ok(truncated && cut.length <= 512);
  assert.ok((counts[1] ?? 0) > 10 && counts[3] === 1, `${counts}`);
});

test('no answer is longer than its bound or than DNS allows', () => {
  const text: DnsRecord = { owner: undefined, ttlSeconds: 0, type: 'TXT', text: 'x'.repeat(600) };
  const texts = { ...emptyAnswer('NOERROR'), answers: Array.from({ length: 200 }, () => text) };
  assert.ok(writeAnswer(query(), texts, options).length <= 65_535);
  const sizes = fc.tuple(fc.integer({ min: 512, max: 70_000 }), fc.nat(2_000));
  fc.assert(
    fc.property(sizes, ([maxBytes, count]) => {
      assert.ok(writeAnswer(query(1_232), answer(count), { ...options, maxBytes }).length <= maxBytes);
    }),
    { numRuns: 200 },
  );
});

test('codes above 15 and staleness travel in the OPT record', () => {
  const message = Buffer.from(writeAnswer(query(1_232), emptyAnswer('BADVERS'), { ...options, stale: true }));
  assert.equal((message[3] ?? 0) & 0xf, 0);
  assert.equal(message.subarray(-17).toString('hex'), '00002904d0010000000006000f00020003');
});

test('an asker that is sent to TCP gets its question back and TC, nothing else', () => {
  assert.deepEqual(shape(writeTruncated(query())), { counts: [1, 0, 0, 0], truncated: true });
});
