import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget } from './canonical-request.ts';
import type { HeaderMatch, HttpMatch, Intention, IntentionAction, Permission } from './intention.ts';
import { allows, intention, type Line, type Request } from './requests.fixture.ts';
import { slowDecision } from './slow-evaluator.fixture.ts';

// ---- what policies and requests are made of --------------------------------------------------------------------------------------------------------

/** Paths that are their own folded reading, so that the disguises below lead to them and to nothing else. */
const plainPaths = ['/', '/admin', '/admin/x', '/orders', '/orders/12', '/public', '/public/a'];
const regexes = ['/orders/[0-9]+', '/.*', '/admin(/x)?', '/[a-z]+'];
const oddPaths = ['/Admin', '/a;v=1/b', '/a%40b', '/caf%C3%A9', '/admin/', '/.x', '/a%EF%BC%8Fb', '/a/;x'];
const action = fc.constantFrom<IntentionAction>('allow', 'deny');

const headerOf = (values: readonly string[]): fc.Arbitrary<HeaderMatch> =>
  fc
    .record({
      name: fc.constantFrom('x-role', 'x-a'),
      matcher: fc.oneof(
        fc.constant({ present: true as const }),
        fc
          .constantFrom(...values)
          .chain((value) =>
            fc.constantFrom<Omit<HeaderMatch, 'name'>>(
              { exact: value },
              { prefix: value },
              { suffix: value },
              { contains: value },
              { regex: `${value}.*` },
            ),
          ),
      ),
      invert: fc.boolean(),
      ignoreCase: fc.boolean(),
    })
    .map(({ name, matcher, invert, ignoreCase }) => ({
      name,
      ...matcher,
      ...(invert ? { invert } : {}),
      ...(ignoreCase ? { ignoreCase } : {}),
    }));

const httpOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<HttpMatch> =>
  fc
    .record({
      path: fc.oneof(
        fc.constantFrom(...paths).map((path) => ({ pathExact: path })),
        fc.constantFrom(...paths).map((path) => ({ pathPrefix: path })),
        fc.constantFrom(...regexes).map((regex) => ({ pathRegex: regex })),
        fc.constant({}),
      ),
      headers: fc.array(headerOf(values), { maxLength: 2 }),
      methods: fc.uniqueArray(fc.constantFrom('GET', 'POST'), { maxLength: 2 }),
    })
    .map(({ path, headers, methods }) => ({
      ...path,
      ...(headers.length > 0 ? { headers } : {}),
      ...(methods.length > 0 ? { methods } : {}),
    }))
    .filter((http) => Object.keys(http).length > 0);

const permissionOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<Permission> =>
  fc.record({ action, http: httpOf(paths, values) });

const intentionOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<Intention> =>
  fc
    .record({
      source: fc.constantFrom('web', '*', 'api'),
      destination: fc.constantFrom('db', 'db', '*', 'cache'),
      rule: fc.oneof(
        action.map((said) => ({ action: said })),
        fc.array(permissionOf(paths, values), { minLength: 1, maxLength: 4 }).map((permissions) => ({ permissions })),
      ),
    })
    .map(({ source, destination, rule }) => intention(source, destination, rule));

const policyOf = (paths: readonly string[], values: readonly string[]) =>
  fc.uniqueArray(intentionOf(paths, values), {
    maxLength: 6,
    selector: ({ source, destination }) => `${source} ${destination}`,
  });

const requestOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<Request> =>
  fc.record({
    method: fc.constantFrom('GET', 'POST', 'DELETE', 'get'),
    target: fc.constantFrom(...paths),
    lines: fc.array(fc.tuple(fc.constantFrom('x-role', 'x-a'), fc.constantFrom(...values)), { maxLength: 3 }),
  });

const plainValues = ['admin', 'user'];
const oddValues = [...plainValues, 'Admin', 'user,admin', 'user, admin', '', 'us\u00e9r'];
const allPaths = [
  ...plainPaths,
  ...oddPaths,
  '/ADMIN',
  '/admin;v',
  '/x/%E2%80%A5/admin',
  '/a/b',
  '/A;V=2/b',
  '/a%2540',
];
const defaults = fc.constantFrom<IntentionAction>('allow', 'deny');

// ---- properties ------------------------------------------------------------------------------------------------------------------------------------

test('property: the evaluator equals a slow one that enumerates every reading', () => {
  fc.assert(
    fc.property(
      policyOf([...plainPaths, ...oddPaths], [...plainValues, 'Admin', 'user, admin']),
      requestOf(allPaths, oddValues),
      defaults,
      (policy, request, defaultAction) => {
        const canonical = canonicaliseTarget(request.target);
        const slow = canonical.ok && slowDecision(policy, defaultAction, request, canonical.path);
        assert.equal(allows(policy, defaultAction, request), slow);
      },
    ),
    { numRuns: 1_500 },
  );
});

test('property: under default deny, one deny more never widens, wherever it is put', () => {
  fc.assert(
    fc.property(
      policyOf(plainPaths, plainValues),
      permissionOf(plainPaths, plainValues),
      requestOf(allPaths, oddValues),
      fc.nat(5),
      fc.nat(4),
      (policy, permission, request, which, at) => {
        const deny: Permission = { ...permission, action: 'deny' };
        const before = allows(policy, 'deny', request);
        const wider = (changed: readonly Intention[]) => allows(changed, 'deny', request) && !before;
        // A rule more in an intention that has rules.
        const inserted = policy.map((item, index) =>
          index === which && item.permissions !== undefined
            ? { ...item, permissions: item.permissions.toSpliced(at, 0, deny) }
            : item,
        );
        assert.ok(!wider(inserted));
        // A guard more, an L4 deny more.
        const pairs = new Set(policy.map(({ source, destination }) => `${source} ${destination}`));
        for (const source of ['web', '*']) {
          if (!pairs.has(`${source} *`))
            assert.ok(!wider([...policy, intention(source, '*', { permissions: [deny] })]));
          for (const destination of ['db', '*']) {
            if (!pairs.has(`${source} ${destination}`)) {
              assert.ok(!wider([...policy, intention(source, destination, { action: 'deny' })]));
            }
          }
        }
        // An L7 deny on its own, CVE-2021-36213.
        if (!pairs.has('web db')) assert.ok(!wider([...policy, intention('web', 'db', { permissions: [deny] })]));
      },
    ),
    { numRuns: 1_000 },
  );
});

/** reliability.md 2d: what can be done to a request on its way, without the application behind noticing. */
const disguises: Readonly<Record<string, (request: Request) => Request>> = {
  'double slash': onTarget((path) => path.replace('/', '//')),
  'double slash within': onTarget((path) => path.replace(/(.)\//, '$1//')),
  'dot segment': onTarget((path) => `/.${path}`),
  'dot segments': onTarget((path) => `/x/..${path}`),
  'encoded dot segment': onTarget((path) => `/%2e${path}`),
  'encoded dot segments': onTarget((path) => `/x/%2E%2e${path}`),
  'encoded slash': onTarget((path) => path.replace(/(.)\//, '$1%2f')),
  'encoded backslash': onTarget((path) => path.replace(/(.)\//, '$1%5c')),
  backslash: onTarget((path) => path.replace(/(.)\//, '$1\\')),
  'encoded twice': onTarget((path) => path.replace(/(.)\//, '$1%252f')),
  'one character encoded': onTarget((path) => path.replace(/[a-z0-9]/, escapeOf)),
  'hex digits in upper case': onTarget((path) =>
    path.replace(/[j-o]/, (character) => escapeOf(character).toUpperCase()),
  ),
  'every character encoded': onTarget((path) => path.replaceAll(/[a-z0-9]/g, escapeOf)),
  'upper case': onTarget((path) => path.toUpperCase()),
  'one letter in upper case': onTarget((path) => path.replace(/[a-z]/, (letter) => letter.toUpperCase())),
  'parameters at the end': onTarget((path) => `${path};a=b`),
  'parameters in each segment': onTarget((path) => path.replaceAll(/([^/])(?=\/|$)/g, '$1;a=b')),
  'parameters in an empty segment': onTarget((path) => `/;a${path}`),
  'parameters on a dot segment': onTarget((path) => `/x/..;${path}`),
  'encoded parameters': onTarget((path) => `${path}%3ba`),
  'trailing slash': onTarget((path) => (path.endsWith('/') ? path : `${path}/`)),
  'trailing dot segment': onTarget((path) => `${path}/.`),
  fragment: onTarget((path) => `${path}#f`),
  query: onTarget((path) => `${path}?a=/public`),
  'encoded query': onTarget((path) => `${path}%3fa`),
  'absolute form': onTarget((path) => `http://host${path}`),
  'user name': onTarget((path) => `http://user@host${path}`),
  NUL: onTarget((path) => `${path}%00`),
  'raw NUL': onTarget((path) => `${path}\u0000`),
  TAB: onTarget((path) => `${path}%09`),
  LF: onTarget((path) => `${path}\n`),
  space: onTarget((path) => `${path} `),
  'overlong slash': onTarget((path) => path.replace(/(.)\//, '$1%c0%af')),
  'fullwidth slash': onTarget((path) => path.replace(/(.)\//, '$1%ef%bc%8f')),
  'fullwidth letter': onTarget((path) => path.replace('a', '%ef%bd%81')),
  'header lines joined': (request) => ({ ...request, lines: joinLines(request.lines) }),
  'header line split': (request) => ({
    ...request,
    lines: request.lines.flatMap(
      ([name, value]) =>
        [
          [name, value],
          [name, 'zzz'],
        ] as const,
    ),
  }),
  'header value padded': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name, ` ${value}\t`] as const),
  }),
  'header value in upper case': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name, value.toUpperCase()] as const),
  }),
  'header also with underscore': (request) => ({
    ...request,
    lines: request.lines.flatMap(
      ([name, value]) =>
        [
          [name, value],
          [name.replaceAll('-', '_'), value],
        ] as const,
    ),
  }),
  'header value with obs-text': (request) => ({
    ...request,
    lines: request.lines.map(([name, value]) => [name, `${value}\u00ff`] as const),
  }),
  'method in lower case': (request) => ({ ...request, method: request.method.toLowerCase() }),
};

test('property: no disguise of a request is allowed more than the request itself', async (t) => {
  // Inverted matchers are left out where a value changes: what is changed then is what the rule asks for.
  const policies = fc.uniqueArray(intentionOf(plainPaths, plainValues), {
    maxLength: 4,
    selector: ({ source, destination }) => `${source} ${destination}`,
  });
  for (const [name, disguise] of Object.entries(disguises)) {
    await t.test(name, () => {
      fc.assert(
        fc.property(
          policies,
          requestOf(plainPaths, plainValues),
          fc.constantFrom('deny' as const, 'allow' as const),
          (policy, request, defaultAction) => {
            if (
              name.startsWith('header') &&
              (usesInvert(policy) || request.lines.some(([, value]) => value !== 'admin'))
            )
              return;
            assert.ok(allows(policy, defaultAction, request) || !allows(policy, defaultAction, disguise(request)));
          },
        ),
        { numRuns: 200 },
      );
    });
  }
});

test('property: a rule always matches its own spelling', () => {
  const exact = fc.constantFrom(...plainPaths, ...oddPaths, '/a//b', '/%61', '/x/../y', '/A/%3B;q/', '/caf%c3%89');
  fc.assert(
    fc.property(exact, fc.boolean(), (path, isPrefix) => {
      const http: HttpMatch = isPrefix ? { pathPrefix: path } : { pathExact: path };
      const request: Request = { method: 'GET', target: path, lines: [] };
      for (const said of ['allow', 'deny'] as const) {
        const policy = [intention('web', 'db', { permissions: [{ action: said, http }] })];
        assert.equal(allows(policy, said === 'allow' ? 'deny' : 'allow', request), said === 'allow');
      }
    }),
  );
});

// ---- small things ----------------------------------------------------------------------------------------------------------------------------------

function onTarget(change: (target: string) => string): (request: Request) => Request {
  return (request) => ({ ...request, target: change(request.target) });
}

function escapeOf(character: string): string {
  return `%${character.charCodeAt(0).toString(16)}`;
}

function joinLines(lines: readonly Line[]): readonly Line[] {
  const names = [...new Set(lines.map(([name]) => name))];
  return names.map((name) => [
    name,
    lines
      .filter(([of]) => of === name)
      .map(([, value]) => value)
      .join(', '),
  ]);
}

function usesInvert(policy: readonly Intention[]): boolean {
  return policy.some(({ permissions = [] }) =>
    permissions.some(({ http }) => http.headers?.some(({ invert }) => invert)),
  );
}
