import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Intention, Permission } from './intention.ts';
import { compileIntentions } from './intention-decision.ts';
import { compileOutlook } from './intention-outlook.ts';
import { pathTemplate } from './path-template.ts';
import { facts, intention } from './requests.fixture.ts';

const inputOf = (intentions: readonly Intention[], defaultAction: 'allow' | 'deny' = 'deny') =>
  ({ destination: 'db', protocol: 'http', defaultAction, intentions, revision: 1, nowMs: 0 }) as const;
const header = { name: 'x', exact: '1' };
const jwt = { providers: [{ name: 'okta' }] };

test('what is decided whatever the headers, and what depends on them', () => {
  const rule = (action: 'allow' | 'deny', http: Permission['http'], more: object = {}): Permission => ({
    action,
    http,
    ...more,
  });
  const cases: readonly [Intention[], string][] = [
    [[intention('web', 'db', { action: 'allow' })], 'allowed'],
    [[], 'denied'],
    [[intention('web', 'db', { permissions: [rule('allow', { pathPrefix: '/a' })] })], 'allowed'],
    [[intention('web', 'db', { permissions: [rule('allow', { pathPrefix: '/a', headers: [header] })] })], 'depends'],
    [[intention('web', 'db', { permissions: [rule('allow', { pathPrefix: '/b', headers: [header] })] })], 'denied'],
    [
      [
        intention('web', 'db', {
          permissions: [rule('deny', { headers: [header] }), rule('allow', { pathPrefix: '/' })],
        }),
      ],
      'depends',
    ],
    [
      [
        intention('web', 'db', {
          permissions: [rule('allow', { pathPrefix: '/' }), rule('deny', { headers: [header] })],
        }),
      ],
      'allowed',
    ],
    // Not in agreement at the ends alone: neither or both hold, the answer is no; only the second, and it is yes.
    [
      [
        intention('web', 'db', {
          permissions: [
            rule('deny', { headers: [header] }),
            rule('allow', { headers: [{ name: 'y', present: true }] }),
          ],
        }),
      ],
      'depends',
    ],
    [[intention('web', 'db', { permissions: [rule('allow', { pathPrefix: '/' }, { jwt })] })], 'depends'],
    [[intention('web', 'db', { action: 'allow', jwt })], 'depends'],
    [[intention('web', 'db', { action: 'deny', jwt })], 'denied'],
    [
      [
        intention('*', '*', { permissions: [rule('deny', { pathPrefix: '/a', headers: [header] })] }),
        intention('web', 'db', { action: 'allow' }),
      ],
      'depends',
    ],
    [
      [
        intention('*', '*', { permissions: [rule('deny', { pathPrefix: '/b', headers: [header] })] }),
        intention('web', 'db', { action: 'allow' }),
      ],
      'allowed',
    ],
  ];
  for (const [intentions, expected] of cases) {
    assert.equal(compileOutlook(inputOf(intentions))('web')('GET', '/a'), expected, JSON.stringify(intentions));
  }
  assert.equal(compileOutlook(inputOf([intention('web', 'db', { action: 'allow' })]))('web')('', undefined), 'allowed');
});

test('what is sure of a request is what the evaluator says of it, with whatever headers', () => {
  const headers = fc.uniqueArray(fc.constantFrom('a', 'b'), { maxLength: 2 });
  const matcher = fc
    .tuple(fc.constantFrom('a', 'b'), fc.boolean())
    .map(([name, invert]) => ({ name, present: true as const, ...(invert ? { invert } : {}) }));
  const http = fc
    .record({ pathPrefix: fc.constantFrom('/', '/a', '/b') })
    .chain((path) => fc.option(matcher).map((one) => (one === null ? path : { ...path, headers: [one] })));
  const permission = fc.record({ action: fc.constantFrom('allow' as const, 'deny' as const), http });
  const rule = fc.oneof(
    fc.constantFrom('allow' as const, 'deny' as const).map((action) => ({ action })),
    fc.array(permission, { minLength: 1, maxLength: 4 }).map((permissions) => ({ permissions })),
  );
  const one = fc
    .tuple(fc.constantFrom('web', '*'), fc.constantFrom('db', '*'), rule)
    .map(([source, to, said]) => intention(source, to, said));
  const policy = fc.uniqueArray(one, { selector: (i) => `${i.source} ${i.destination}`, maxLength: 4 });
  fc.assert(
    fc.property(
      policy,
      fc.constantFrom('/a', '/b', '/c'),
      headers,
      fc.constantFrom('allow' as const, 'deny' as const),
      (intentions, path, names, defaultAction) => {
        const input = inputOf(intentions, defaultAction);
        const outlook = compileOutlook(input)('web')('GET', path);
        if (outlook === 'depends') return;
        const lines = names.map((name) => [name, '1'] as const);
        const verdict = compileIntentions(input)
          .forSource('web')
          .request(facts({ method: 'GET', target: path, lines }, path));
        assert.equal(verdict.allowed, outlook === 'allowed');
      },
    ),
    { numRuns: 1_000 },
  );
});

test('paths fold to their shape', () => {
  for (const [path, template] of [
    ['/', '/'],
    ['/orders/17/items', '/orders/{}/items'],
    ['/orders/', '/orders/'],
    ['/users/7c0d9a4e-5a51-4a7f-9d3f-1f2a3b4c5d6e', '/users/{}'],
    ['/blobs/a1b2c3d4', '/blobs/{}'],
    ['/v1/api2', '/v1/api2'],
    ['/a%C3%A4', '/{}'],
    [`/${'x'.repeat(30)}`, '/{}'],
    ['/a/b/c/d/e/f/g/h/i/j/k/l/m/n', '/a/b/c/d/e/f/g/h/i/j/k/l/…'],
  ] as const) {
    assert.equal(pathTemplate(path), template);
  }
});
