import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { delayAfter, refusal } from './identity-client.ts';

const answer = (headers: Record<string, string>, status = 429) => ({ status, headers, body: Buffer.from('') });
const url = 'https://127.0.0.1:8600';
const delay = (error: unknown): number => delayAfter(error, 3, undefined, () => 0.5);

const rows: readonly (readonly [retryAfter: string, delayMs: number])[] = [
  ['7', 7_875],
  ['0', 1_125],
  ['999999', 337_500],
  // Not a number of seconds: as if nothing was said.
  ['-1', 2_000],
  ['1.5', 2_000],
  ['Mon, 23 Nov 2026 21:00:00 GMT', 2_000],
  ['', 2_000],
];
for (const [retryAfter, delayMs] of rows) {
  test(`after Retry-After "${retryAfter}" the client waits ${delayMs} ms`, () => {
    assert.equal(delay(refusal(answer({ 'retry-after': retryAfter }), url)), delayMs);
  });
}

test('without Retry-After, and without an answer, it backs off by itself', () => {
  assert.equal(delay(refusal(answer({}, 503), url)), 2_000);
  assert.equal(delay(new MeshError('SLV-1006', 'No answer.', { detail: { retryAfterSeconds: 7 } })), 2_000);
});
