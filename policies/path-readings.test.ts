import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget } from './canonical-request.ts';
import { foldPrefix, readingsOf } from './path-readings.ts';

test('the readings of a path', () => {
  for (const [path, stripped, decoded, folded] of [
    ['/', '/', '/', '/'],
    ['/orders', '/orders', '/orders', '/orders'],
    ['/Orders/', '/Orders/', '/Orders/', '/orders'],
    ['/a;x=1/B;y/', '/a/B/', '/a;x=1/B;y/', '/a/b'],
    ['/;x/a', '/a', '/;x/a', '/a'],
    ['/a/;x', '/a/', '/a/;x', '/a'],
    ['/a%3Bx/b', '/a%3Bx/b', '/a;x/b', '/a/b'],
    ['/a%40b', '/a%40b', '/a@b', '/a@b'],
    ['/caf%C3%89', '/caf%C3%89', '/cafÉ', '/café'],
    ['/a%EF%BC%8Fb', '/a%EF%BC%8Fb', '/a／b', '/a/b'],
    ['/%EF%BD%81dmin', '/%EF%BD%81dmin', '/ａdmin', '/admin'],
    ['/a/%E2%80%A5/b', '/a/%E2%80%A5/b', '/a/‥/b', '/b'],
    ['/a%EF%BC%BCb', '/a%EF%BC%BCb', '/a＼b', '/a/b'],
  ] as const) {
    const readings = readingsOf(path);
    assert.deepEqual([readings.stripped, readings.decoded, readings.folded], [stripped, decoded, folded], path);
  }
});

test('the further readings of a path with encoded slashes', () => {
  assert.equal(readingsOf('/a%40b').slashed.size, 0);
  const readings = readingsOf('/A%2F%2Fb%40%3Fc');
  assert.deepEqual(
    [readings.decoded, readings.folded, ...readings.slashed.values()],
    ['/A//b@?c', '/a/b@', '/A%2F%2Fb@?c', '/A//b%40%3Fc', '/A/b%40%3Fc', '/A/b@?c'],
  );
  assert.equal(readings.named('all but slashes decoded'), '/A%2F%2Fb@?c');
  const backslash = readingsOf('/a%5Cb');
  assert.deepEqual([backslash.decoded, backslash.folded], ['/a\\b', '/a/b']);
  // They have other names already.
  assert.deepEqual([...backslash.slashed], []);
  assert.ok(backslash.hasSlash);
});

test('a reading that climbs above the root throws, and the evaluator denies', () => {
  assert.throws(() => readingsOf('/%E2%80%A5/a').folded, RangeError);
});

test('the end of a prefix is open: its dots and its slash stay', () => {
  for (const [prefix, folded] of [
    ['/', '/'],
    ['/Admin', '/admin'],
    ['/admin/', '/admin/'],
    ['/.', '/.'],
    ['/a/..', '/a/..'],
    ['/a;v', '/a'],
  ] as const) {
    assert.equal(foldPrefix(prefix).folded, folded, prefix);
  }
});

test('property: every canonical path folds, and folding twice is folding once', () => {
  const pieces = fc.constantFrom('/', 'a', 'B', ';', ';x', '%C3%89', '%3B', '%40', '.', '%20', '/.x');
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 10 }), (parts) => {
      const canonical = canonicaliseTarget(`/${parts.join('')}`);
      if (!canonical.ok) return;
      const { folded } = readingsOf(canonical.path);
      assert.equal(readingsOf(encodeURI(folded)).folded, folded);
    }),
  );
});
