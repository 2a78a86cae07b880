import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget } from './canonical-request.ts';
import { disguises, hidesOnly } from './disguises.fixture.ts';
import {
  allNormalizations,
  allPaths,
  defaults,
  intentionOf,
  oddPaths,
  oddValues,
  permissionOf,
  plainPaths,
  plainValues,
  policyOf,
  requestOf,
  slashedPaths,
} from './generated-policies.fixture.ts';
import type { HttpMatch, Intention, Permission } from './intention.ts';
import { allows, intention, type Request } from './requests.fixture.ts';
import { slowDecision } from './slow-evaluator.fixture.ts';

/** Of a service that takes encoded slashes. */
const keeping = { escapedSlashes: 'KEEP_UNCHANGED', underscores: 'REJECT_REQUEST' } as const;

// ---- properties ------------------------------------------------------------------------------------------------------------------------------------

test('property: the evaluator equals a slow one that enumerates every reading', () => {
  fc.assert(
    fc.property(
      policyOf([...plainPaths, ...oddPaths, ...slashedPaths], [...plainValues, 'Admin', 'user, admin']),
      requestOf([...allPaths, ...slashedPaths], oddValues),
      defaults,
      (policy, request, defaultAction) => {
        const canonical = canonicaliseTarget(request.target, 'KEEP_UNCHANGED');
        const slow = canonical.ok && slowDecision(policy, defaultAction, request, canonical.path);
        assert.equal(allows(policy, defaultAction, request, 'web', keeping), slow);
      },
    ),
    { numRuns: 2_000 },
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

test('property: no disguise of a request is allowed more than the request itself, whatever its service lets pass', async (t) => {
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
          fc.constantFrom(...allNormalizations),
          (policy, request, defaultAction, words) => {
            if (!hidesOnly(name, policy, request, words)) return;
            const disguised = disguise(request);
            assert.ok(
              allows(policy, defaultAction, request) || !allows(policy, defaultAction, disguised, 'web', words),
            );
          },
        ),
        { numRuns: 200 },
      );
    });
  }
});

/** What servers do to a path before they look at it. */
const steps: readonly ((path: string) => string)[] = [
  (path) => path.replaceAll(/%[0-9A-F]{2}/g, (octet) => String.fromCharCode(Number.parseInt(octet.slice(1), 16))),
  (path) => path.replaceAll('%2F', '/').replaceAll('%5C', '\\'),
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replaceAll(/;[^/]*/g, ''),
  (path) => path.replaceAll(/\/+/g, '/'),
  (path) => new URL(`http://host${path.replaceAll(/[?#]/g, '_')}`).pathname, // dot segments
  (path) => path.replace(/[?#].*/, ''),
  (path) => path.toLowerCase(),
];

test('property: whatever an application makes of a path with encoded slashes, it was allowed as that, too', () => {
  const piece = fc.constantFrom(
    'admin',
    'x',
    'orders',
    '12',
    'public',
    'a',
    '',
    '',
    '.',
    '..',
    'a;v',
    ';v',
    'x%3Fa',
    'X',
    '%3Bv',
  );
  const glue = fc.constantFrom('/', '%2F', '%2f', '%5C');
  const targets = fc
    .array(fc.tuple(glue, piece), { minLength: 1, maxLength: 6 })
    .map((parts) => `/public${parts.flat().join('')}`);
  const pattern = fc.constantFrom(
    '/(?:[^/]|%)+',
    '/[^/]+%2F.*',
    '/public/.*',
    '/public(?:%2F|/)[a-z]+',
    '/[^%]+',
    '/[a-z]+/[^/]+',
    '/public/[^/]+/x',
  );
  const rule = fc.oneof(
    permissionOf([...plainPaths, '/public/admin', '/public/orders/12'], plainValues),
    fc.record({ action: fc.constantFrom('allow' as const, 'deny' as const), http: fc.record({ pathRegex: pattern }) }),
  );
  fc.assert(
    fc.property(
      fc.array(rule, { minLength: 1, maxLength: 3 }),
      targets,
      fc.shuffledSubarray([...steps]),
      defaults,
      (permissions, target, taken, defaultAction) => {
        const policy = [intention('web', 'db', { permissions })];
        const sent = canonicaliseTarget(target, 'KEEP_UNCHANGED');
        if (!sent.ok || !/%2F|%5C/.test(sent.path)) return;
        const read = taken.reduce((path, step) => step(path), sent.path);
        const asked = (path: string) => ({ method: 'GET', target: path, lines: [] });
        if (!allows(policy, defaultAction, asked(target), 'web', keeping)) return;
        const canonical = canonicaliseTarget(read, 'KEEP_UNCHANGED');
        if (canonical.ok && canonical.path === read)
          assert.ok(allows(policy, defaultAction, asked(read), 'web', keeping), `${sent.path} read as ${read}`);
      },
    ),
    { numRuns: 5_000 },
  );
});

test('property: a rule always matches its own spelling', () => {
  const exact = fc.constantFrom(
    ...plainPaths,
    ...oddPaths,
    ...slashedPaths,
    '/a//b',
    '/%61',
    '/x/../y',
    '/A/%3B;q/',
    '/caf%c3%89',
  );
  fc.assert(
    fc.property(exact, fc.boolean(), (path, isPrefix) => {
      const http: HttpMatch = isPrefix ? { pathPrefix: path } : { pathExact: path };
      const request: Request = { method: 'GET', target: path, lines: [] };
      for (const said of ['allow', 'deny'] as const) {
        const policy = [intention('web', 'db', { permissions: [{ action: said, http }] })];
        assert.equal(allows(policy, said === 'allow' ? 'deny' : 'allow', request, 'web', keeping), said === 'allow');
      }
    }),
  );
});
