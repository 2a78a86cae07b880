import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget, maxTargetBytes } from './canonical-request.ts';

/** Target, path, query. */
const canonical: readonly (readonly [string, string, string?])[] = [
  ['/', '/'],
  ['/orders', '/orders'],
  ['/orders?id=1', '/orders', '?id=1'],
  ['/orders?', '/orders', '?'],
  ['/?a=/../b//c%2f%00', '/', '?a=/../b//c%2f%00'],
  ['/orders/', '/orders/'],
  ['//admin', '/admin'],
  ['///', '/'],
  ['//host/path', '/host/path'],
  ['/a//b///c', '/a/b/c'],
  ['/./a/./b/.', '/a/b/'],
  ['/a/../b', '/b'],
  ['/a/b/..', '/a/'],
  ['/a/..', '/'],
  ['/a/../', '/'],
  ['/a/b/../../c', '/c'],
  ['/%61dmin', '/admin'],
  ['/%41-%7e%5F%2d', '/A-~_-'],
  ['/a/%2e%2E/b', '/b'],
  ['/%2e/a', '/a'],
  ['/a%3ab%c3%a9', '/a%3Ab%C3%A9'],
  ['/%f0%9f%98%80', '/%F0%9F%98%80'],
  ['/a%20b%25', '/a%20b%25'],
  ['/100%25zz', '/100%25zz'],
  ['/a;x=1/b;y', '/a;x=1/b;y'],
  ['/a//;x/b', '/a/;x/b'],
  ['/.well-known/x', '/.well-known/x'],
  ['/.../..a/.b', '/.../..a/.b'],
  ['/a.b/c..', '/a.b/c..'],
  ['/~user/{id}|"<>^`[]', '/~user/{id}|"<>^`[]'],
  ['http://db.mesh/orders?x', '/orders', '?x'],
  ['HTTPS://db.mesh:8443//a', '/a'],
  ['http://db.mesh', '/'],
  ['http://db.mesh?x', '/', '?x'],
];

test('canonical forms', () => {
  for (const [target, path, query = ''] of canonical) {
    assert.deepEqual(canonicaliseTarget(target), { ok: true, path, query }, target);
  }
});

const refused: readonly (readonly [string, RegExp])[] = [
  ['', /begin with/],
  ['*', /begin with/],
  ['orders', /begin with/],
  ['db.mesh:443', /begin with/],
  ['ftp://db/x', /begin with/],
  ['http:///x', /begin with/],
  ['http://user@db/x', /begin with/],
  ['/a%', /no escape/],
  ['/a%2', /no escape/],
  ['/a%zz', /no escape/],
  ['/a%2?3', /no escape/],
  ['/%u002f', /no escape/],
  ['/a%00', /control/],
  ['/a%0a', /control/],
  ['/a%1F', /control/],
  ['/a%7f', /control/],
  ['/a%c2%85', /UTF-8/],
  ['/a\u0000', /control/],
  ['/a\tb', /control/],
  ['/a\r\nb', /control/],
  ['/a\u007f', /control/],
  ['/a b', /space/],
  ['/a\u00e9', /above 0x7f/],
  ['/a\u0141', /above 0x7f/],
  ['/a\\b', /\\/],
  ['/a%5cb', /encoded \\/],
  ['/a%5Cb', /encoded \\/],
  ['/a%2fb', /encoded \//],
  ['/a%2Fb', /encoded \//],
  ['/a%252fb', /twice/],
  ['/a%2541', /twice/],
  ['/a%25%32%66', /twice/],
  ['/a%252%66', /twice/],
  ['/a#x', /#/],
  ['/a?b#x', /#/],
  ['/a?b c', /space/],
  ['/a?b\u0001', /control/],
  ['/a?\u00e9', /above 0x7f/],
  ['/..', /above the root/],
  ['/../a', /above the root/],
  ['/a/../../b', /above the root/],
  ['/%2e%2e/a', /above the root/],
  ['/.//../a', /empty segment/],
  ['/a//../b', /empty segment/],
  ['/a/..;/b', /dot segment with parameters/],
  ['/a/.;x=1/b', /dot segment with parameters/],
  ['/a/..%3bx/b', /dot segment with parameters/],
  ['/%c0%af', /UTF-8/],
  ['/%c1%81', /UTF-8/],
  ['/%e0%80%af', /UTF-8/],
  ['/%f0%80%80%af', /UTF-8/],
  ['/%ed%a0%80', /UTF-8/],
  ['/%f4%90%80%80', /UTF-8/],
  ['/%f5%80%80%80', /UTF-8/],
  ['/%80', /UTF-8/],
  ['/%c3', /UTF-8/],
  ['/%c3a', /UTF-8/],
  ['/%e2%82', /UTF-8/],
  ['/%ff', /UTF-8/],
  [`/${'a'.repeat(maxTargetBytes)}`, /longer than 8192/],
];

test('what could be read in two ways is refused', () => {
  for (const [target, reason] of refused) {
    const result = canonicaliseTarget(target);
    assert.ok(!result.ok && reason.test(result.reason), `${target}: ${JSON.stringify(result)}`);
  }
});

/** Target, its path where encoded slashes stay, and where they are decoded; a pattern: why it is refused. */
const slashed: readonly (readonly [string, string | RegExp, string | RegExp])[] = [
  ['/repos/group%2fproject', '/repos/group%2Fproject', '/repos/group/project'],
  ['/users/DOMAIN%5cme', '/users/DOMAIN%5Cme', '/users/DOMAIN/me'],
  ['/proxy/http%3a%2F%2Fhost%2Fp%3Fq', '/proxy/http%3A%2F%2Fhost%2Fp%3Fq', '/proxy/http%3A/host/p%3Fq'],
  ['/a%2F', '/a%2F', '/a/'],
  ['/a//b%2F/./c', '/a/b%2F/c', '/a/b/c'],
  ['/%61%2f%41', '/a%2FA', '/a/A'],
  ['http://db/a%2Fb', '/a%2Fb', '/a/b'],
  ['/%2Fadmin', /begins with an encoded slash/, '/admin'],
  ['/a%2Fb%5Cc', /an encoded \/ and an encoded \\/, '/a/b/c'],
  ['/a%2F..%2Fadmin', /dot segment beside/, '/admin'],
  ['/a%2F%2e%2E/admin', /dot segment beside/, '/admin'],
  ['/a/..%2Fadmin', /dot segment beside/, '/admin'],
  ['/a/.%5Cadmin', /dot segment beside/, '/a/admin'],
  ['/x%2Fa/../admin', /dot segment beside/, '/x/admin'],
  ['/a%2F../../admin', /dot segment beside/, /climb/],
  ['/a%2F%2F../b', /dot segment beside/, /after an empty/],
  ['/a;v%2Fb', /parameters/, '/a;v/b'],
  ['/a%2Fb%3Bc', /parameters/, '/a/b%3Bc'],
  ['/a%2F..;/b', /parameters/, /with parameters/],
  ['/a%2Fb%EF%BC%8Fc', /separator/, '/a/b%EF%BC%8Fc'],
  ['/a%2Fb%EF%BC%9Bc', /separator/, '/a/b%EF%BC%9Bc'],
  ['/a%2Fcaf%c3%a9', '/a%2Fcaf%C3%A9', '/a/caf%C3%A9'],
  ['/a%252Fb', /twice/, /twice/],
  ['/a\\b', /it has a \\/, /it has a \\/],
];

test('encoded slashes: refused, kept or decoded, as a service says', () => {
  for (const [target, kept, decoded] of slashed) {
    assert.ok(!canonicaliseTarget(target).ok, target);
    for (const [action, expected] of [
      ['KEEP_UNCHANGED', kept],
      ['UNESCAPE_AND_FORWARD', decoded],
      ['UNESCAPE_AND_REDIRECT', decoded],
    ] as const) {
      const result = canonicaliseTarget(`${target}?q=%2f`, action);
      const shown = `${target} ${action} ${JSON.stringify(result)}`;
      if (typeof expected !== 'string') assert.ok(!result.ok && expected.test(result.reason), shown);
      else {
        assert.ok(result.ok && result.path === expected && result.query === '?q=%2f', shown);
        assert.equal(result.unescaped, action === 'KEEP_UNCHANGED' ? undefined : true, shown);
        assert.deepEqual(canonicaliseTarget(result.path + result.query, action), {
          ok: true,
          path: result.path,
          query: result.query,
        });
      }
    }
  }
});

test('the limit itself is within', () => {
  assert.ok(canonicaliseTarget(`/${'a'.repeat(maxTargetBytes - 1)}`).ok);
});

test('every code point alone, and every escape alone, is accepted or refused as its class says', () => {
  for (let code = 0; code < 256; code++) {
    const character = String.fromCharCode(code);
    const raw = canonicaliseTarget(`/a${character}b`);
    assert.equal(raw.ok, code > 0x20 && code < 0x7f && !'\\#%'.includes(character), `raw ${code}`);
    const hex = code.toString(16).padStart(2, '0');
    const result = canonicaliseTarget(`/a%${hex}b`);
    assert.equal(result.ok, code >= 0x20 && code < 0x7f && !'\\/'.includes(character), `%${hex}`);
    if (result.ok) {
      assert.equal(result.path, /[\w.~-]/.test(character) ? `/a${character}b` : `/a%${hex.toUpperCase()}b`);
    }
  }
});

/** Targets out of the pieces that attacks are made of. */
const pieces = fc.constantFrom(
  ...[
    '/',
    '//',
    '.',
    '..',
    '...',
    'a',
    'B',
    'admin',
    ';',
    ';x=1',
    '%2e',
    '%2E',
    '%61',
    '%2f',
    '%5c',
    '%25',
    '%252f',
    '%00',
    '%c3%a9',
    '%C3%A9',
  ],
  ...[
    '%c0%af',
    '%ef%bc%8f',
    '%3b',
    '%3B',
    '%20',
    '%',
    '?',
    '#',
    '\\',
    '@',
    ':',
    '*',
    '32',
    '66',
    '~',
    '\u0000',
    '\u00e9',
  ],
);
const targets = fc.array(pieces, { maxLength: 12 }).map((parts) => `/${parts.join('')}`);

test('property: canonical is canonical', () => {
  fc.assert(
    fc.property(targets, (target) => {
      const once = canonicaliseTarget(target);
      if (!once.ok) return;
      assert.deepEqual(canonicaliseTarget(once.path + once.query), once);
      assert.match(once.path, /^\/(?!\/)[!-~]*$/);
      assert.doesNotMatch(once.path, /\/\/|\/\.{1,2}(?:\/|$)|%(?:2F|5C|00)|%[0-9A-Fa-f]?[a-f]|[\\#]/);
      for (const action of ['KEEP_UNCHANGED', 'UNESCAPE_AND_FORWARD', 'UNESCAPE_AND_REDIRECT'] as const)
        assert.deepEqual(canonicaliseTarget(target, action), once);
    }),
    { numRuns: 3_000 },
  );
});

test('property: encoded slashes that stay or are decoded leave a canonical path, too', () => {
  fc.assert(
    fc.property(
      targets,
      fc.constantFrom('KEEP_UNCHANGED' as const, 'UNESCAPE_AND_FORWARD' as const),
      (target, action) => {
        const once = canonicaliseTarget(target, action);
        if (!once.ok) return;
        const { path, query } = once;
        assert.deepEqual(canonicaliseTarget(path + query, action), { ok: true, path, query });
        assert.doesNotMatch(path, /\/\/|\/\.{1,2}(?:\/|$)|%00|%[0-9A-Fa-f]?[a-f]|[\\#]/);
        assert.equal(/%2F|%5C/.test(path) && action === 'UNESCAPE_AND_FORWARD', false);
      },
    ),
    { numRuns: 3_000 },
  );
});

test('property: a target without disguise means what RFC 3986 (and the URL standard) says', () => {
  const honest = fc.constantFrom('/', 'a', 'b;x', '/.', '/..', '/a', '/b/', '%20', '%61', '-');
  fc.assert(
    fc.property(fc.array(honest, { maxLength: 10 }), (parts) => {
      const target = `/${parts.join('')}`;
      const result = canonicaliseTarget(target);
      if (!result.ok || target.includes('//')) return;
      // The URL standard leaves escapes of unreserved characters as they are.
      assert.equal(result.path, new URL(target.replaceAll('%61', 'a'), 'http://host').pathname);
    }),
    { numRuns: 1_000 },
  );
});

test('a target that is canonical comes back as the same string', () => {
  const path = `/orders/${'x'.repeat(100)}`;
  const result = canonicaliseTarget(path);
  assert.ok(result.ok && result.path === path && result.query === '');
});
