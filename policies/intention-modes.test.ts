import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Intention, Permission, ServiceProtocol } from './intention.ts';
import { compileIntentions, type Verdict } from './intention-decision.ts';
import { facts, intention } from './requests.fixture.ts';

type Mode = Pick<Intention, 'observe' | 'expiresAtMs'>;

function ask(
  intentions: readonly Intention[],
  path = '/',
  given: { nowMs?: number; protocol?: ServiceProtocol; defaultAction?: 'allow' | 'deny' } = {},
): Verdict {
  const { nowMs = 0, protocol = 'http', defaultAction = 'deny' } = given;
  const policy = compileIntentions({
    destination: 'db',
    protocol,
    defaultAction,
    intentions,
    revision: 1,
    nowMs,
  }).forSource('web');
  return policy.request(facts({ method: 'GET', target: path, lines: [] }, path));
}

const denyAdmin: Permission = { action: 'deny', http: { pathPrefix: '/admin' } };
const allowOrders: Permission = { action: 'allow', http: { pathPrefix: '/orders' } };
const observe: Mode = { observe: true };

describe('observe mode', () => {
  test('what would be denied is allowed and told, with the rule and the reading', () => {
    const cases: readonly [Intention[], string, ServiceProtocol, boolean, string | undefined][] = [
      [[intention('web', 'db', { action: 'deny', ...observe })], '/', 'http', true, 'web -> db (deny)'],
      [[intention('web', 'db', { action: 'deny', ...observe })], '/', 'tcp', true, 'web -> db (deny)'],
      [[intention('web', 'db', { action: 'allow', ...observe })], '/', 'http', true, undefined],
      [
        [intention('web', 'db', { permissions: [denyAdmin, allowOrders], ...observe })],
        '/orders',
        'http',
        true,
        undefined,
      ],
      [
        [intention('web', 'db', { permissions: [denyAdmin, allowOrders], ...observe })],
        '/admin',
        'http',
        true,
        'web -> db permission 1 (deny)',
      ],
      [
        [intention('web', 'db', { permissions: [denyAdmin, allowOrders], ...observe })],
        '/x',
        'http',
        true,
        'default (deny)',
      ],
      [[intention('web', 'db', { permissions: [allowOrders], ...observe })], '/', 'tcp', true, 'web -> db (deny)'],
      // A guard that observes decides nothing: what else denies goes on denying.
      [
        [intention('*', '*', { permissions: [denyAdmin], ...observe }), intention('web', 'db', { action: 'allow' })],
        '/admin',
        'http',
        true,
        'guard * -> * permission 1 (deny)',
      ],
      [[intention('*', '*', { permissions: [denyAdmin], ...observe })], '/admin', 'http', false, undefined],
      [
        [intention('*', '*', { permissions: [denyAdmin], ...observe }), intention('web', 'db', { action: 'allow' })],
        '/',
        'tcp',
        true,
        'guard * -> * permission 1 (deny)',
      ],
      // A guard that is enforced does not care for the mode of others.
      [
        [intention('*', '*', { permissions: [denyAdmin] }), intention('web', 'db', { action: 'deny', ...observe })],
        '/admin',
        'http',
        false,
        undefined,
      ],
    ];
    for (const [intentions, path, protocol, allowed, rule] of cases) {
      const verdict = ask(intentions, path, { protocol });
      const name = JSON.stringify([intentions, path, protocol]);
      assert.equal(verdict.allowed, allowed, name);
      assert.equal(verdict.observed?.rule, rule, name);
    }
    const told = ask([intention('web', 'db', { permissions: [denyAdmin], ...observe })], '/Admin/');
    assert.equal(told.observed?.reading, 'folded: /admin');
    assert.equal(told.reading, undefined);
  });

  test('what is not understood is denied all the same', () => {
    const broken = { action: 'deny', http: { hosts: ['x'] } } as unknown as Permission;
    assert.equal(ask([intention('web', 'db', { permissions: [broken], ...observe })]).allowed, false);
    assert.equal(ask([intention('web', 'db', observe)]).allowed, false);
  });
});

const permission = fc.record({
  action: fc.constantFrom<'allow' | 'deny'>('allow', 'deny'),
  http: fc.constantFrom('/', '/admin', '/orders').map((pathPrefix) => ({ pathPrefix })),
});
const rules = fc.oneof(
  fc.record({ action: fc.constantFrom<'allow' | 'deny'>('allow', 'deny') }),
  fc.record({ permissions: fc.array(permission, { minLength: 1, maxLength: 3 }) }),
);
const pairs = [
  ['web', 'db'],
  ['*', 'db'],
  ['web', '*'],
  ['*', '*'],
] as const;
const modes = fc.record({ observe: fc.boolean(), expiresAtMs: fc.constantFrom(undefined, 10, 20) });
const policy = fc.tuple(...pairs.map(() => fc.option(fc.tuple(rules, modes), { nil: undefined }))).map((drawn) =>
  drawn.flatMap((one, index) => {
    const [source, destination] = pairs[index] ?? ['', ''];
    if (one === undefined) return [];
    const [said, { observe: watching, expiresAtMs }] = one;
    return [
      intention(source, destination, {
        ...said,
        ...(watching ? { observe: true } : {}),
        ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
      }),
    ];
  }),
);
const request = fc.record({
  path: fc.constantFrom('/', '/admin', '/Admin', '/orders/1'),
  protocol: fc.constantFrom<ServiceProtocol>('tcp', 'http'),
  defaultAction: fc.constantFrom<'allow' | 'deny'>('allow', 'deny'),
});
const enforced = (one: Intention): Intention => {
  const { observe: _, ...rest } = one;
  return rest;
};

test('property: enforced, exactly what was told as observed or denied is denied, and by the rule that was told', () => {
  fc.assert(
    fc.property(policy, request, (intentions, { path, ...given }) => {
      const now = ask(intentions, path, given);
      const then = ask(intentions.map(enforced), path, given);
      assert.equal(then.allowed, now.allowed && now.observed === undefined);
      const guarded = intentions.some((one) => one.destination === '*' && one.permissions !== undefined);
      if (!guarded && now.observed !== undefined) assert.equal(now.observed.rule, then.rule);
    }),
    { numRuns: 1_000 },
  );
});

test('property: observe mode never denies what is allowed when enforced', () => {
  fc.assert(
    fc.property(policy, request, (intentions, { path, ...given }) => {
      if (ask(intentions.map(enforced), path, given).allowed) assert.ok(ask(intentions, path, given).allowed);
    }),
    { numRuns: 1_000 },
  );
});

test('property: an intention that has expired is as one that was deleted, to the millisecond', () => {
  fc.assert(
    fc.property(policy, request, fc.constantFrom(0, 9, 10, 11, 19, 20, 21), (intentions, { path, ...given }, nowMs) => {
      const left = intentions.filter(({ expiresAtMs = Number.POSITIVE_INFINITY }) => nowMs < expiresAtMs);
      assert.deepEqual(ask(intentions, path, { ...given, nowMs }), ask(left, path, { ...given, nowMs: 0 }));
    }),
    { numRuns: 1_000 },
  );
});

test('when to compile anew is told: the next end', () => {
  const untilMs = (nowMs: number) =>
    compileIntentions({
      destination: 'db',
      protocol: 'http',
      defaultAction: 'deny',
      intentions: [
        intention('web', 'db', { action: 'allow', expiresAtMs: 20 }),
        intention('api', 'db', { action: 'allow', expiresAtMs: 10 }),
        intention('*', 'db', { action: 'deny' }),
      ],
      revision: 1,
      nowMs,
    }).untilMs;
  assert.deepEqual([0, 10, 20].map(untilMs), [10, 20, undefined]);
});
