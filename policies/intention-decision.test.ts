import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Intention, Permission } from './intention.ts';
import { compileIntentions } from './intention-decision.ts';
import { facts, intention } from './requests.fixture.ts';
import { feedIntentionsSchema } from './wire/feed.ts';

test('what is not understood denies, and says so', () => {
  const broken: readonly unknown[] = [
    { action: 'allow', http: {} },
    { action: 'allow', http: { pathExact: '/a', hosts: ['x'] } },
    { action: 'allow', http: { pathExact: '/a' }, jwt: {} },
    { action: 'permit', http: { pathExact: '/a' } },
    { action: 'allow' },
    null,
    { action: 'allow', http: { pathExact: '/a', pathPrefix: '/a' } },
    { action: 'allow', http: { pathExact: '/a%00' } },
    { action: 'allow', http: { pathRegex: '(' } },
    { action: 'allow', http: { headers: [{ name: 'x' }] } },
    { action: 'allow', http: { headers: [{ name: 'x', exact: 'a', range: 1 }] } },
  ];
  for (const permission of broken) {
    const after: Permission = { action: 'allow', http: { pathPrefix: '/' } };
    const item: Intention = intention('web', 'db', { permissions: [permission as Permission, after] });
    const policy = compileIntentions({
      destination: 'db',
      protocol: 'http',
      defaultAction: 'allow',
      intentions: [item],
      revision: 1,
      nowMs: 0,
    });
    const verdict = policy.forSource('web').request(facts({ method: 'GET', target: '/a', lines: [] }, '/a'));
    assert.ok(!verdict.allowed && verdict.reason.includes('not understood'), JSON.stringify(permission));
  }
  for (const rule of [
    {},
    { action: 'permit' },
    { action: 'allow', permissions: [] },
    { permissions: [] },
    { permissions: 7 },
  ]) {
    const item = { ...intention('web', 'db', {}), ...rule } as Intention;
    const policy = compileIntentions({
      destination: 'db',
      protocol: 'http',
      defaultAction: 'allow',
      intentions: [item],
      revision: 1,
      nowMs: 0,
    });
    assert.ok(
      !policy.forSource('web').request(facts({ method: 'GET', target: '/', lines: [] }, '/')).allowed,
      JSON.stringify(rule),
    );
  }
});

test('an error while deciding is a deny', () => {
  const permissions: Permission[] = [{ action: 'allow', http: { headers: [{ name: 'x', present: true }] } }];
  const policy = compileIntentions({
    destination: 'db',
    protocol: 'http',
    defaultAction: 'allow',
    intentions: [intention('web', 'db', { permissions })],
    revision: 4,
    nowMs: 0,
  }).forSource('web');
  const verdict = policy.request({
    method: 'GET',
    path: '/',
    headerValues: () => {
      throw new Error('codec');
    },
    headerLookalikes: () => [],
  });
  assert.ok(!verdict.allowed && verdict.reason.includes('codec') && verdict.revision === 4);
});

test('the cache of sources is bounded and changes nothing', () => {
  const policy = compileIntentions({
    destination: 'db',
    protocol: 'http',
    defaultAction: 'deny',
    intentions: [intention('s7', 'db', { action: 'allow' })],
    revision: 1,
    nowMs: 0,
  });
  const first = policy.forSource('s7');
  assert.equal(policy.forSource('s7'), first);
  for (let index = 0; index < 3_000; index++) policy.forSource(`s${index}`);
  assert.notEqual(policy.forSource('s7'), first);
  assert.deepEqual(policy.forSource('s7').connection, first.connection);
});

test('property: whatever the feed lets through compiles, and every request gets an answer', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.constantFrom('/', '/a', '(', '[', '*', 'web', 'x-a', '%2f', '/%'),
  );
  const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
  const header = fc.record({
    name: text,
    exact: optional(text),
    regex: optional(text),
    contains: optional(text),
    invert: optional(fc.boolean()),
  });
  const http = fc.record({
    pathExact: optional(text),
    pathPrefix: optional(text),
    pathRegex: optional(text),
    headers: optional(fc.array(header, { maxLength: 3 })),
    methods: optional(fc.array(text, { maxLength: 3 })),
  });
  const action = fc.constantFrom('allow', 'deny');
  const rule = fc.record({
    source: fc.constantFrom('web', '*'),
    destination: fc.constantFrom('db', '*'),
    action: optional(action),
    permissions: optional(fc.array(fc.record({ action, http }), { maxLength: 4 })),
  });
  const numbers = { precedence: 9, createdAtMs: 0, updatedAtMs: 0, createIndex: 1, modifyIndex: 1 };
  const path = fc.oneof(text, fc.constantFrom('/', '/a;b/%C3%89', '/%', '/..'));
  fc.assert(
    fc.property(
      fc.array(rule, { maxLength: 4 }),
      fc.constantFrom('tcp', 'http'),
      path,
      text,
      (rules, protocol, path, value) => {
        const resource = {
          kind: 'intentions',
          name: 'db',
          protocol,
          defaultAction: 'deny',
          intentions: rules.map((item) => ({ ...item, ...numbers })),
        };
        const feed = feedIntentionsSchema.parse(JSON.parse(JSON.stringify(resource)));
        const policy = compileIntentions({ destination: feed.name, revision: 1, nowMs: 0, ...feed }).forSource('web');
        const verdict = policy.request({
          method: 'GET',
          path,
          headerValues: () => [value],
          headerLookalikes: () => [],
        });
        assert.equal(typeof verdict.allowed, 'boolean');
        if (policy.connection !== 'per-request') assert.equal(policy.connection, verdict);
      },
    ),
    { numRuns: 200 },
  );
});
