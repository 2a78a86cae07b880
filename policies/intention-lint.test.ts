import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Intention, Permission } from './intention.ts';
import { compileIntentions } from './intention-decision.ts';
import { guardedBy, lintIntentions } from './intention-lint.ts';
import { facts, intention } from './requests.fixture.ts';

const allow = (http: Permission['http']): Permission => ({ action: 'allow', http });
const deny = (http: Permission['http']): Permission => ({ action: 'deny', http });
/** `2 shadowed`, `shadowed-deny` where the whole intention is meant. */
const found = (written: Intention, others: readonly Intention[] = [], keepsSlashes = false) =>
  lintIntentions([written], [written, ...others], () => keepsSlashes).map(({ permission, problem }) =>
    permission === undefined ? problem : `${permission} ${problem}`,
  );

test('permissions that do not do what they say, by those before them', () => {
  const x = { name: 'x-tenant', exact: '7' };
  const cases: readonly [Permission[], string[]][] = [
    [[allow({ pathPrefix: '/orders' }), deny({ pathPrefix: '/orders/internal' })], ['2 shadowed-deny']],
    [[deny({ pathPrefix: '/orders/internal' }), allow({ pathPrefix: '/orders' })], []],
    [[allow({ pathPrefix: '/orders' }), allow({ pathExact: '/orders/1' })], ['2 shadowed']],
    [[allow({ pathPrefix: '/orders/' }), allow({ pathExact: '/orders' })], []],
    [[allow({ pathExact: '/a' }), allow({ pathPrefix: '/a' })], []],
    [[allow({ pathPrefix: '/Orders' }), deny({ pathPrefix: '/orders' })], []],
    [[deny({ pathPrefix: '/Orders' }), allow({ pathPrefix: '/orders' })], ['2 shadowed']],
    [[allow({ pathPrefix: '/a', methods: ['GET'] }), allow({ pathPrefix: '/a' })], []],
    [[allow({ pathPrefix: '/a' }), allow({ pathPrefix: '/a', methods: ['GET'] })], ['2 shadowed']],
    [[allow({ methods: ['GET', 'HEAD'] }), deny({ pathRegex: '/x.*', methods: ['GET'] })], ['2 shadowed-deny']],
    [[allow({ pathRegex: '/a/[0-9]+' }), deny({ pathExact: '/a/1' })], ['2 shadowed-deny']],
    [[allow({ pathRegex: '/a/[0-9]+' }), deny({ pathExact: '/a/b' })], []],
    [[allow({ pathPrefix: '/a', headers: [x] }), deny({ pathPrefix: '/a' })], []],
    [
      [
        allow({ pathPrefix: '/a', headers: [{ name: 'X-Tenant', present: true }] }),
        deny({ pathPrefix: '/a', headers: [x] }),
      ],
      ['2 shadowed-deny'],
    ],
    [
      [
        allow({
          headers: [
            { name: 'a', present: true, invert: true },
            { name: 'A', exact: '1' },
          ],
        }),
      ],
      ['1 never-matches'],
    ],
    [[deny({ pathRegex: 'admin.*' })], ['1 never-matches']],
    [[deny({ pathRegex: '/admin//x' })], ['1 never-matches']],
    [[deny({ pathRegex: '/a?dmin|x' }), deny({ pathRegex: '(admin|/x)' }), deny({ pathRegex: '/a/(/b)?' })], []],
  ];
  for (const [permissions, expected] of cases) {
    assert.deepEqual(found(intention('web', 'db', { permissions })), expected, JSON.stringify(permissions));
  }
});

test('two slashes in a row are in a reading of paths with encoded slashes: a deny matches that', () => {
  const permissions = [
    deny({ pathRegex: '/admin//x' }),
    allow({ pathRegex: '/admin//x' }),
    deny({ pathRegex: '/a\\?b' }),
  ];
  assert.deepEqual(found(intention('web', 'db', { permissions }), [], true), ['2 never-matches', '3 never-matches']);
  const [first] = permissions;
  assert.ok(first !== undefined);
  const request = facts({ method: 'GET', target: '/admin%2F/x', lines: [] }, '/admin%2F/x');
  const compiled = compileIntentions({
    destination: 'db',
    protocol: 'http',
    defaultAction: 'allow',
    intentions: [intention('web', 'db', { permissions: [first] })],
    revision: 1,
    nowMs: 0,
  });
  assert.equal(compiled.forSource('web').request(request).allowed, false);
});

test('what other intentions do to one', () => {
  const guard = (permission: Permission, observe = false) =>
    intention('*', '*', { permissions: [permission], ...(observe ? { observe: true as const } : {}) });
  const admin = guard(deny({ pathPrefix: '/admin' }));
  const orders = intention('web', 'db', { permissions: [allow({ pathPrefix: '/admin/orders' })] });
  assert.deepEqual(found(orders, [admin]), ['1 cut-by-guard']);
  assert.deepEqual(found(orders, [guard(deny({ pathPrefix: '/admin' }), true)]), []);
  assert.deepEqual(found(intention('web', 'db', { permissions: [allow({ pathPrefix: '/adm' })] }), [admin]), [
    '1 cut-by-guard',
  ]);
  // An allow of everything is meant to have exceptions.
  assert.deepEqual(found(intention('web', 'db', { permissions: [allow({ pathPrefix: '/' })] }), [admin]), []);
  assert.deepEqual(found(intention('web', 'db', { action: 'allow' }), [admin]), []);
  assert.deepEqual(found(intention('web', 'db', { action: 'allow' }), [guard(deny({ pathPrefix: '/' }))]), [
    'cut-by-guard',
  ]);
  assert.deepEqual(found(guard(allow({ pathPrefix: '/x' }))), ['1 no-effect']);
  const everyone = intention('*', 'db', { action: 'allow' });
  assert.deepEqual(found(intention('web', '*', { action: 'deny' }), [everyone]), ['shadowed-deny']);
  assert.deepEqual(
    found(intention('web', '*', { action: 'deny' }), [everyone, intention('web', 'db', { action: 'allow' })]),
    [],
  );
  assert.deepEqual(guardedBy(admin, [orders, admin]), [orders]);
  assert.deepEqual(guardedBy(orders, [orders, admin]), []);
});

test('a rule of which lint says that it never matches decides nothing: in plain spelling, the verdict is the same without it', () => {
  const path = fc.constantFrom('/', '/a', '/a/', '/a/b', '/a/b/c', '/b');
  const http = fc.oneof(
    path.map((pathExact) => ({ pathExact })),
    path.map((pathPrefix) => ({ pathPrefix })),
    fc.constantFrom('/a.*', '/a/[a-z]', 'b.*').map((pathRegex) => ({ pathRegex })),
    fc.constantFrom(['GET'], ['POST', 'GET']).map((methods) => ({ methods })),
    fc.record({ pathPrefix: path, methods: fc.constant(['POST']) }),
  );
  const permission = fc.record({ action: fc.constantFrom('allow' as const, 'deny' as const), http });
  fc.assert(
    fc.property(
      fc.array(permission, { minLength: 1, maxLength: 5 }),
      path,
      fc.constantFrom('GET', 'POST'),
      (permissions, at, method) => {
        const idle = new Set(
          lintIntentions([intention('web', 'db', { permissions })], [], () => true).map((one) => one.permission),
        );
        const rest = permissions.filter((_, index) => !idle.has(index + 1));
        const ask = (rules: readonly Permission[]) =>
          compileIntentions({
            destination: 'db',
            protocol: 'http',
            defaultAction: 'deny',
            intentions: [intention('web', 'db', rules.length === 0 ? { action: 'deny' } : { permissions: rules })],
            revision: 1,
            nowMs: 0,
          })
            .forSource('web')
            .request(facts({ method, target: at, lines: [] }, at)).allowed;
        assert.equal(ask(rest), ask(permissions));
      },
    ),
    { numRuns: 500 },
  );
});
