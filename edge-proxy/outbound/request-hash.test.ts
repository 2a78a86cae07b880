import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FeedHashPolicy } from '#policies/wire/feed-routing.ts';
import { keyHash } from '../resilience/key-hash.ts';
import { type HashedRequest, requestHash } from './request-hash.ts';

const request: HashedRequest = {
  headers: ['X-User', 'bob', 'Cookie', 'a=1; stick=k; b=2', 'x-user', 'ann'],
  query: '?tenant=t%201',
  sourceIp: '127.0.0.2',
};
const hash = (...policies: readonly FeedHashPolicy[]) => requestHash(policies, request, () => 'new');
const combined = (first: string, second: string) =>
  (((keyHash(first) << 1) | (keyHash(first) >>> 31)) ^ keyHash(second)) >>> 0;

const cases: [name: string, policies: readonly FeedHashPolicy[], expected: number | undefined][] = [
  ['a header, all its lines, in whatever order', [{ on: 'header', name: 'X-USER' }], keyHash('ann,bob')],
  ['a cookie', [{ on: 'cookie', name: 'stick' }], keyHash('k')],
  ['a query parameter, decoded', [{ on: 'query-parameter', name: 'tenant' }], keyHash('t 1')],
  ['the source', [{ on: 'source-ip' }], keyHash('127.0.0.2')],
  [
    'what is not there',
    [
      { on: 'header', name: 'x' },
      { on: 'cookie', name: 'stic' },
    ],
    undefined,
  ],
  ['both together', [{ on: 'cookie', name: 'stick' }, { on: 'source-ip' }], combined('k', '127.0.0.2')],
  ['a terminal one is the last', [{ on: 'cookie', name: 'stick', terminal: true }, { on: 'source-ip' }], keyHash('k')],
  ['unless it gives nothing', [{ on: 'header', name: 'x', terminal: true }, { on: 'source-ip' }], keyHash('127.0.0.2')],
];
for (const [name, policies, expected] of cases) {
  test(name, () => assert.deepEqual(hash(...policies), { hash: expected, cookie: undefined }));
}

test('a cookie is made only where one is missing and asked for', () => {
  const cookie = { ttlMs: 0, path: '/app' };
  assert.deepEqual(hash({ on: 'cookie', name: 'stick', cookie }), { hash: keyHash('k'), cookie: undefined });
  assert.deepEqual(hash({ on: 'cookie', name: 'other', cookie }), {
    hash: keyHash('new'),
    cookie: 'other=new; Path=/app; HttpOnly',
  });
});
