import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Intention, JwtRequirement, Permission, ServiceProtocol } from './intention.ts';
import { compileIntentions, type SourcePolicy, type Verdict } from './intention-decision.ts';
import type { TokenReading } from './jwt-rule.ts';
import { facts, intention } from './requests.fixture.ts';

type Claims = Readonly<Record<string, unknown>>;
/** What a caller shows: claims of a verified token of okta, a token that does not hold, or none. */
type Shown = Claims | 'bad' | undefined;

const okta: JwtRequirement = { providers: [{ name: 'okta' }] };
const role = (value: string): JwtRequirement => ({
  providers: [{ name: 'okta', verifyClaims: [{ path: ['perms', 'role'], value }] }],
});
const admin = { perms: { role: 'admin' } };

function policyOf(
  intentions: readonly Intention[],
  given: { protocol?: ServiceProtocol; defaultAction?: 'allow' | 'deny' } = {},
): SourcePolicy {
  const { protocol = 'http', defaultAction = 'deny' } = given;
  return compileIntentions({ destination: 'db', protocol, defaultAction, intentions, revision: 1, nowMs: 0 }).forSource(
    'web',
  );
}

function ask(policy: SourcePolicy, shown: Shown, path = '/'): Verdict {
  const reading = (name: string): TokenReading => {
    if (name !== 'okta') return { valid: false, flaw: 'there is no such jwt-provider' };
    if (shown === undefined) return { valid: false, flaw: 'the request carries no token' };
    return shown === 'bad' ? { valid: false, flaw: 'the token expired' } : { valid: true, claims: shown };
  };
  return policy.request({ ...facts({ method: 'GET', target: path, lines: [] }, path), token: reading });
}

const allow = (jwt?: JwtRequirement): Permission => ({
  action: 'allow',
  http: { pathPrefix: '/' },
  ...(jwt ? { jwt } : {}),
});
const deny = (pathPrefix: string, jwt: JwtRequirement): Permission => ({ action: 'deny', http: { pathPrefix }, jwt });

test('identity and token: neither lets in without the other (CVE-2023-3518)', () => {
  const cases: readonly [what: Intention[], shown: Shown, allowed: boolean, rule: string][] = [
    [[intention('web', 'db', { action: 'allow', jwt: okta })], undefined, false, 'db JWT (deny)'],
    [[intention('web', 'db', { action: 'allow', jwt: okta })], 'bad', false, 'db JWT (deny)'],
    [[intention('web', 'db', { action: 'allow', jwt: okta })], {}, true, 'web -> db (allow)'],
    [[intention('web', 'db', { action: 'deny', jwt: okta })], {}, false, 'web -> db (deny)'],
    // Another's intention of the same destination asks for it all the same: who comes in by a wildcard is not exempt.
    [
      [intention('api', 'db', { action: 'allow', jwt: okta }), intention('*', '*', { action: 'allow' })],
      undefined,
      false,
      'db JWT (deny)',
    ],
    [[intention('api', 'db', { action: 'allow', jwt: okta })], admin, false, 'default (deny)'],
    [[intention('web', '*', { action: 'allow', jwt: okta })], undefined, false, '* JWT (deny)'],
    [
      [intention('web', '*', { action: 'allow', jwt: okta }), intention('web', 'db', { action: 'allow' })],
      undefined,
      true,
      'web -> db (allow)',
    ],
    [[intention('web', 'db', { permissions: [allow(okta)] })], undefined, false, 'default (deny)'],
    [[intention('web', 'db', { permissions: [allow(role('admin'))] })], admin, true, 'web -> db permission 1 (allow)'],
    [
      [intention('web', 'db', { permissions: [allow(role('admin'))] })],
      { perms: { role: ['user', 'admin'] } },
      true,
      'web -> db permission 1 (allow)',
    ],
    [
      [intention('web', 'db', { permissions: [allow(role('admin'))] })],
      { perms: { role: 'user' } },
      false,
      'default (deny)',
    ],
    [
      [intention('web', 'db', { permissions: [allow(role('admin'))] })],
      { 'perms.role': 'admin', perms: 'admin' },
      false,
      'default (deny)',
    ],
    [
      [intention('web', 'db', { permissions: [allow(role('true'))] })],
      { perms: { role: true } },
      false,
      'default (deny)',
    ],
    [[intention('web', 'db', { permissions: [allow(okta)], jwt: role('admin') })], {}, false, 'db JWT (deny)'],
    // A deny by token holds for whoever shows none: or it would be enough to leave it at home.
    [
      [intention('web', 'db', { permissions: [deny('/', role('guest')), allow()] })],
      undefined,
      false,
      'web -> db permission 1 (deny)',
    ],
    [
      [intention('web', 'db', { permissions: [deny('/', role('guest')), allow()] })],
      'bad',
      false,
      'web -> db permission 1 (deny)',
    ],
    [
      [intention('web', 'db', { permissions: [deny('/', role('guest')), allow()] })],
      { perms: { role: 'guest' } },
      false,
      'web -> db permission 1 (deny)',
    ],
    [
      [intention('web', 'db', { permissions: [deny('/', role('guest')), allow()] })],
      admin,
      true,
      'web -> db permission 2 (allow)',
    ],
    [
      [intention('*', '*', { permissions: [deny('/', role('guest'))] }), intention('web', 'db', { action: 'allow' })],
      undefined,
      false,
      'guard * -> * permission 1 (deny)',
    ],
    [
      [intention('*', '*', { permissions: [deny('/', role('guest'))] }), intention('web', 'db', { action: 'allow' })],
      admin,
      true,
      'web -> db (allow)',
    ],
    // Any of several providers.
    [
      [intention('web', 'db', { action: 'allow', jwt: { providers: [{ name: 'other' }, { name: 'okta' }] } })],
      {},
      true,
      'web -> db (allow)',
    ],
    [
      [intention('web', 'db', { action: 'allow', jwt: { providers: [{ name: 'other' }] } })],
      {},
      false,
      'db JWT (deny)',
    ],
  ];
  for (const [intentions, shown, allowed, rule] of cases) {
    const verdict = ask(policyOf(intentions), shown);
    assert.deepEqual([verdict.allowed, verdict.rule], [allowed, rule], JSON.stringify([intentions, shown]));
  }
});

test('the refusal says what is wrong with the token', () => {
  const permission = policyOf([intention('web', 'db', { permissions: [allow(role('admin'))] })]);
  assert.match(
    ask(permission, undefined).reason,
    /web -> db permission 1 needs a token: okta: the request carries no token\.$/,
  );
  assert.match(ask(permission, {}).reason, /the token does not say that perms\.role is "admin"/);
  const whole = policyOf([intention('web', 'db', { action: 'allow', jwt: okta })]);
  assert.equal(ask(whole, 'bad').reason, 'web -> db needs a token: okta: the token expired.');
});

test('a connection can not show a token; observe mode lets through and tells; what is not understood denies', () => {
  const asked = intention('web', 'db', { action: 'allow', jwt: okta });
  assert.equal(policyOf([asked]).connection, 'per-request');
  const tcp = policyOf([asked], { protocol: 'tcp' }).connection;
  assert.ok(tcp !== 'per-request' && !tcp.allowed && tcp.reason.includes('set Protocol http'));
  const observed = ask(policyOf([{ ...asked, observe: true }]), undefined);
  assert.deepEqual([observed.allowed, observed.observed?.rule], [true, 'db JWT (deny)']);
  assert.equal(ask(policyOf([], { defaultAction: 'allow' }), undefined).allowed, true);
  const foreign = { providers: [{ name: 'okta', trust: 'all' }] } as unknown as JwtRequirement;
  assert.equal(ask(policyOf([intention('web', 'db', { action: 'allow', jwt: foreign })]), admin).allowed, false);
  assert.equal(ask(policyOf([intention('web', 'db', { permissions: [allow(foreign)] })]), admin).allowed, false);
  // Nobody reads tokens here.
  assert.equal(policyOf([asked]).request(facts({ method: 'GET', target: '/', lines: [] }, '/')).allowed, false);
});

test('asking for a token never widens: of whom it is asked, by whatever rule lets in', () => {
  const path = fc.constantFrom('/', '/a', '/b');
  const http = path.map((pathPrefix) => ({ pathPrefix }));
  const permission = fc.record({ action: fc.constantFrom('allow' as const, 'deny' as const), http });
  const rule = fc.oneof(
    fc.constantFrom('allow' as const, 'deny' as const).map((action) => ({ action })),
    fc.array(permission, { minLength: 1, maxLength: 4 }).map((permissions) => ({ permissions })),
  );
  const one = fc
    .tuple(fc.constantFrom('web', '*'), fc.constantFrom('db', '*'), rule)
    .map(([source, to, said]) => intention(source, to, said));
  const shown = fc.constantFrom<Shown>(undefined, 'bad', {}, admin);
  fc.assert(
    fc.property(
      fc.uniqueArray(one, { selector: (i) => `${i.source} ${i.destination}`, maxLength: 4 }),
      path,
      shown,
      fc.boolean(),
      (given, at, token, allows) => {
        const defaultAction = allows ? 'allow' : 'deny';
        const asked = given.map((item) => ({
          ...item,
          jwt: role('admin'),
          ...(item.permissions === undefined
            ? {}
            : {
                permissions: item.permissions.map((p) => (p.action === 'allow' && !allows ? { ...p, jwt: okta } : p)),
              }),
        }));
        if (!ask(policyOf(asked, { defaultAction }), token, at).allowed) return;
        assert.ok(ask(policyOf(given, { defaultAction }), token, at).allowed);
      },
    ),
    { numRuns: 500 },
  );
});
