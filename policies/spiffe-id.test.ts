import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from './errors/mesh-error.ts';
import {
  flawOfSpiffeId,
  parseSpiffeId,
  parseTrustDomain,
  pathOf,
  serviceIdentityOf,
  serviceSpiffeId,
  trustDomainOf,
} from './spiffe-id.ts';

/** go-spiffe spiffeid/id_test.go and path_test.go, its cases and words. */
const badTrustDomain =
  /trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores/;
const badPath = /path segment characters are limited to letters, numbers, dots, dashes, and underscores/;
const refusals: readonly (readonly [string, RegExp])[] = [
  ['', /cannot be empty/],
  ['trustdomain', /scheme is missing or invalid/],
  ['spiffe', /scheme is missing or invalid/],
  ['spiffe:', /scheme is missing or invalid/],
  ['spiffe:/path', /scheme is missing or invalid/],
  ['Spiffe://trustdomain/path', /scheme is missing or invalid/],
  ['SPIFFE://trustdomain', /scheme is missing or invalid/],
  ['http://trustdomain/path', /scheme is missing or invalid/],
  ['://trustdomain/path', /scheme is missing or invalid/],
  [' spiffe://trustdomain', /scheme is missing or invalid/],
  ['spiffe://', /trust domain is missing/],
  ['spiffe:///path', /trust domain is missing/],
  ['spiffe://trustdomain:80/path', badTrustDomain],
  ['spiffe://user@trustdomain/path', badTrustDomain],
  ['spiffe://TrustDomain/path', badTrustDomain],
  ['spiffe://trust%64omain/path', badTrustDomain],
  ['spiffe://trustdomain?query', badTrustDomain],
  ['spiffe://trustdomain#fragment', badTrustDomain],
  ['spiffe://tr\u00fcst/path', badTrustDomain],
  ['spiffe://trustdomain/path?query', badPath],
  ['spiffe://trustdomain/path#fragment', badPath],
  ['spiffe://trustdomain/pa%74h', badPath],
  ['spiffe://trustdomain/p th', badPath],
  ['spiffe://trustdomain/p\u00e4th', badPath],
  ['spiffe://trustdomain/p\ud83d\ude00', badPath],
  ['spiffe://trustdomain/', /path cannot have a trailing slash/],
  ['spiffe://trustdomain/path/', /path cannot have a trailing slash/],
  ['spiffe://trustdomain//', /path cannot contain empty segments/],
  ['spiffe://trustdomain//path', /path cannot contain empty segments/],
  ['spiffe://trustdomain/path//other', /path cannot contain empty segments/],
  ['spiffe://trustdomain/.', /path cannot contain dot segments/],
  ['spiffe://trustdomain/..', /path cannot contain dot segments/],
  ['spiffe://trustdomain/./path', /path cannot contain dot segments/],
  ['spiffe://trustdomain/path/../other', /path cannot contain dot segments/],
  ['spiffe://trustdomain/path/.', /path cannot contain dot segments/],
];

test('what is not a SPIFFE ID is refused with the rule that it breaks', () => {
  for (const [text, flaw] of refusals) {
    assert.throws(
      () => parseSpiffeId(text),
      (error) => isMeshError(error, 'SLV-5001') && flaw.test(error.message),
      text,
    );
  }
});

test('dots in names, addresses as trust domain, and the bare trust domain are fine', () => {
  for (const text of [
    'spiffe://trustdomain',
    'spiffe://trustdomain/path',
    'spiffe://trustdomain/path/element',
    'spiffe://1.2.3.4/service',
    'spiffe://trustdomain/...',
    'spiffe://trustdomain/.path',
    'spiffe://trustdomain/..path',
    'spiffe://trustdomain/path..',
    'spiffe://-_./A-Z_0.9',
  ]) {
    assert.equal(parseSpiffeId(text), text);
  }
});

/** SPIFFE-ID.md 2 as one regular expression: slow, and another reading of the same text. Lengths apart. */
const grammar = /^spiffe:\/\/[a-z0-9._-]+(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)*$/;

/** Where a character may stand in an ID: what is before it and after it. */
const inNames: readonly (readonly [before: string, after: string])[] = [
  ['spiffe://', ''],
  ['spiffe://a', 'b/path'],
  ['spiffe://td', '/path'],
  ['spiffe://td/', ''],
  ['spiffe://td/a', 'b'],
  ['spiffe://td/a', ''],
];
const elsewhere: readonly (readonly [before: string, after: string])[] = [
  ['', ''],
  ['', 'spiffe://td/path'],
  ...Array.from('spiffe://', (_, at) => ['spiffe://'.slice(0, at), `${'spiffe://'.slice(at + 1)}td/path`] as const),
  ...Array.from('spiffe://', (_, at) => ['spiffe://'.slice(0, at), `${'spiffe://'.slice(at)}td/path`] as const),
  ['spiffe://', '/path'],
  ['spiffe://', 'td/path'],
  ['spiffe://td', ''],
  ['spiffe://td/', '/b'],
  ['spiffe://td/', 'a/b'],
  ['spiffe://td/a', '/b'],
  ['spiffe://td/a/', ''],
  ['spiffe://td/a/', 'b'],
  ['spiffe://td/.', ''],
  ['spiffe://td/.', '/b'],
  ['spiffe://td/..', '/b'],
  ['spiffe://td/a/b', ''],
];

test('every code point in trust domain and path, and every code unit wherever one can stand', () => {
  const sweep = (positions: typeof inNames, last: number): void => {
    for (const [before, after] of positions) {
      for (let code = 0; code <= last; code++) {
        const id = before + String.fromCodePoint(code) + after;
        if ((flawOfSpiffeId(id) === undefined) !== grammar.test(id))
          assert.fail(`code point ${code.toString(16)} between "${before}" and "${after}"`);
      }
    }
  };
  sweep(inNames, 0x10_ffff);
  sweep(elsewhere, 0xffff);
});

test('of all code points the grammar takes 39 in a trust domain and 65 in a path, and / between', () => {
  const taken = (before: string, after: string): string => {
    let all = '';
    for (let code = 0; code <= 0x10_ffff; code++) {
      const character = String.fromCodePoint(code);
      if (flawOfSpiffeId(before + character + after) === undefined) all += character;
    }
    return all;
  };
  const lower = 'abcdefghijklmnopqrstuvwxyz';
  assert.equal(taken('spiffe://a', 'b'), `-./0123456789_${lower}`);
  assert.equal(taken('spiffe://td/a', 'b'), `-./0123456789${lower.toUpperCase()}_${lower}`);
});

test('lengths at, below and above the limits', () => {
  assert.ok(accepts(`spiffe://${'a'.repeat(255)}/x`));
  assert.ok(!accepts(`spiffe://${'a'.repeat(256)}/x`));
  assert.ok(accepts(`spiffe://td/${'a'.repeat(2_048 - 12)}`));
  assert.ok(!accepts(`spiffe://td/${'a'.repeat(2_049 - 12)}`));
  assert.throws(() => parseTrustDomain('a'.repeat(256)), /longer than 255/);
  assert.throws(() => parseTrustDomain(''), /trust domain is missing/);
});

test("a service's ID reads back as it was made", () => {
  const trustDomain = parseTrustDomain('mesh.test');
  const parts = { trustDomain, namespace: 'default', datacenter: 'dc1', service: 'web' };
  const id = serviceSpiffeId(parts);
  assert.equal(id, 'spiffe://mesh.test/ns/default/dc/dc1/svc/web');
  assert.deepEqual(serviceIdentityOf(id), parts);
  assert.equal(trustDomainOf(id), 'mesh.test');
  assert.equal(pathOf(parseSpiffeId('spiffe://mesh.test')), '');
  for (const service of ['', 'a/b', '..', 'a b', '%61', 'a/svc/b']) {
    assert.throws(() => serviceSpiffeId({ ...parts, service }), /SLV-5001|SPIFFE ID/, service);
  }
  for (const other of [
    'spiffe://mesh.test',
    'spiffe://mesh.test/web',
    'spiffe://mesh.test/ns/default/dc/dc1/svc/web/more',
    'spiffe://mesh.test/NS/default/dc/dc1/svc/web',
    'spiffe://mesh.test/ns/default/dc/dc1/agent/web',
    'spiffe://mesh.test/ns/default/svc/web',
  ]) {
    assert.equal(serviceIdentityOf(parseSpiffeId(other)), undefined, other);
  }
});

test('property: whatever the text, an ID comes back unchanged or SLV-5001 is thrown', () => {
  const pieces = fc.constantFrom(
    'spiffe://',
    'td',
    '/',
    '//',
    '.',
    '..',
    'a',
    '%2f',
    'A',
    '?',
    '#',
    '@',
    ':',
    '\u0000',
    ' ',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 40 }),
        fc.array(pieces).map((parts) => parts.join('')),
      ),
      (text) => {
        try {
          const id = parseSpiffeId(text);
          assert.equal(id, text);
          assert.match(id, /^spiffe:\/\/[a-z0-9._-]+(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)*$/);
        } catch (error) {
          assert.ok(isMeshError(error, 'SLV-5001'));
        }
      },
    ),
  );
});

function accepts(text: string): boolean {
  try {
    parseSpiffeId(text);
    return true;
  } catch (error) {
    assert.ok(isMeshError(error, 'SLV-5001'));
    return false;
  }
}
