import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget } from '../canonical-request.ts';
import { rewritePrefix } from './prefix-rewrite.ts';

const cases: [
  path: string,
  match: { pathPrefix?: string; pathExact?: string },
  rewrite: string,
  expected: string | undefined,
][] = [
  ['/v1/users', { pathPrefix: '/v1' }, '/v2', '/v2/users?q=1'],
  ['/admin/users', { pathPrefix: '/admin' }, '/', '/users?q=1'],
  ['/admin', { pathPrefix: '/admin' }, '/', '/?q=1'],
  ['/v1/users', { pathPrefix: '/v1/' }, '/', '/users?q=1'],
  ['/old', { pathExact: '/old' }, '/new/place', '/new/place?q=1'],
  ['/v1/users', { pathPrefix: '/v1' }, '/a/../b', '/b/users?q=1'],
  // Whatever comes of the two together, its canonical form is what is sent, and judged.
  ['/v1.', { pathPrefix: '/v1' }, '/x/.', '/?q=1'],
  ['/v1/users', { pathPrefix: '/v1' }, '/..', undefined],
  ['/v1/users', { pathPrefix: '/v1' }, '/%2f', undefined],
];
for (const [path, match, rewrite, expected] of cases) {
  test(`${path} by ${JSON.stringify(match)} to ${rewrite}`, () => {
    const target = rewritePrefix(path, '?q=1', match, rewrite);
    assert.equal(target.ok ? target.path + target.query : undefined, expected);
  });
}

test('encoded slashes: what is left of the path keeps them, and none comes to stand in front or beside dots', () => {
  const keeping = { escapedSlashes: 'KEEP_UNCHANGED', underscores: 'REJECT_REQUEST' } as const;
  for (const [path, rewrite, expected] of [
    ['/v1/a%2Fb', '/', '/a%2Fb'],
    ['/v1/a%2Fb', '/x/', '/x/a%2Fb'],
    ['/v1/%2Fb', '/', undefined],
    ['/v1/%2Fb', '/x/..', undefined],
    ['/v1/%2Fb', '/x', '/x%2Fb'],
  ] as const) {
    const target = rewritePrefix(path, '', { pathPrefix: '/v1/' }, rewrite, keeping);
    assert.equal(target.ok ? target.path : undefined, expected, `${path} to ${rewrite}`);
  }
});

test('what comes out is canonical', () => {
  const segment = fc.constantFrom('a', '.', '..', '', '%61', 'b;c', '%2F', 'x.');
  const path = fc.array(segment, { maxLength: 6 }).map((parts) => `/${parts.join('/')}`);
  fc.assert(
    fc.property(path, path, fc.nat(8), (asked, rewrite, length) => {
      const canonical = canonicaliseTarget(asked);
      if (!canonical.ok) return;
      const target = rewritePrefix(canonical.path, '', { pathPrefix: canonical.path.slice(0, length + 1) }, rewrite);
      if (target.ok) assert.deepEqual(canonicaliseTarget(target.path), target);
    }),
  );
});
