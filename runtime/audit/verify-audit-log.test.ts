import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type ChainPosition, chainStart, sealLine } from './audit-chain.ts';
import { verifyAuditLog } from './verify-audit-log.ts';

/** A log of `count` lines. */
function logOf(count: number, at: ChainPosition = chainStart): { lines: string[]; end: ChainPosition } {
  const lines: string[] = [];
  let position = at;
  for (let n = 0; n < count; n++) {
    const sealed = sealLine(position, 1_700_000_000_000 + n, { event: 'svid-issued', serial: `s${n}`, of: 'wéb' });
    lines.push(sealed.line);
    position = sealed.position;
  }
  return { lines, end: position };
}

const { lines, end } = logOf(5);
const bytesOf = (text: readonly string[]): Uint8Array[] => [Buffer.from(text.join(''))];
const [a = '', b = '', c = '', d = '', e = ''] = lines;

describe('an audit log', () => {
  test('that nobody touched verifies', async () => {
    assert.deepEqual(await verifyAuditLog(bytesOf(lines)), {
      lines: 5,
      first: 1,
      end,
      from: '2023-11-14T22:13:20.000Z',
      to: '2023-11-14T22:13:20.004Z',
      tornBytes: 0,
    });
    assert.deepEqual(await verifyAuditLog([]), { lines: 0, end: chainStart, tornBytes: 0 });
  });

  const broken: readonly [what: string, text: readonly string[], line: number, why: RegExp][] = [
    ['changed', [a, b, c.replace('"s2"', '"s9"'), d, e], 3, /hash does not fit/],
    ['taken out', [a, c, d, e], 2, /1 line is missing before it, from sequence 2/],
    ['taken out, two', [a, d, e], 2, /2 lines are missing/],
    ['swapped', [a, c, b, d, e], 2, /missing/],
    ['twice', [a, b, b, c], 3, /sequence 2, which was there before/],
    ['no JSON', [a, 'nonsense\n', b], 2, /no line of an audit log/],
    ['an empty line', [a, '\n', b], 2, /no line of an audit log/],
    ['cut short inside', [a, `${b.slice(0, -9)}\n`, c], 2, /no line of an audit log/],
    ['put in anew from a point on', [a, b, ...logOf(2, { sequence: 2, hash: 'f'.repeat(64) }).lines], 3, /another one/],
    ['begun anew with another past', logOf(1, { sequence: 0, hash: 'f'.repeat(64) }).lines, 1, /another one/],
    ['without end', [a, 'x'.repeat(600_000)], 2, /longer than any line/],
  ];
  for (const [what, text, line, why] of broken) {
    test(`with a line ${what} names it`, async () => {
      await assert.rejects(
        verifyAuditLog(bytesOf(text)),
        (error) => isMeshError(error, 'SLV-2151') && error.detail['line'] === line && why.test(error.message),
      );
    });
  }

  test('of which the end is half-written verifies, and says how much', async () => {
    const { lines: whole, tornBytes } = await verifyAuditLog(bytesOf([a, b, c.slice(0, 10)]));
    assert.deepEqual([whole, tornBytes], [2, 10]);
  });

  test('reads the same in whatever pieces it comes', async () => {
    const bytes = Buffer.from(lines.join(''));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 8 }), async (cuts) => {
        const at = [0, ...cuts.toSorted((x, y) => x - y), bytes.length];
        const pieces = at.slice(1).map((to, n) => bytes.subarray(at[n], to));
        assert.equal((await verifyAuditLog(pieces)).lines, 5);
      }),
    );
  });

  test('with any one byte changed does not verify', async () => {
    const bytes = Buffer.from(lines.join(''));
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 2), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ flip;
        await assert.rejects(verifyAuditLog([changed]), (error) => isMeshError(error, 'SLV-2151'));
      }),
    );
  });
});
