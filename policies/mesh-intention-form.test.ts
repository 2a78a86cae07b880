import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from './errors/mesh-error.ts';
import {
  formatMeshIntention,
  type MeshIntention,
  meshIntentionSchema,
  parseMeshIntention,
} from './mesh-intention-form.ts';

const pair = { source: 'web', destination: 'db' };

test('what is refused, and how', () => {
  const cases: readonly [object, RegExp][] = [
    [{}, /exactly one of action and permissions/],
    [{ action: 'allow', permissions: [{ action: 'deny', http: { methods: ['GET'] } }] }, /exactly one/],
    [{ permissions: [{ action: 'deny', http: {} }] }, /should not be empty/],
    [{ permissions: [{ action: 'deny', http: { pathExact: 'a' } }] }, /doesn't start with/],
    [{ permissions: [{ action: 'deny', http: { pathPrefix: '/a?b' } }] }, /PathPrefix/],
    [{ action: 'allow', expiresAt: '1970-01-01T00:00:00Z' }, /in the past/],
    [{ action: 'allow', expiresAt: '1999-01-01T00:00:00+01:00' }, /ten years/],
    [{ action: 'allow', description: 'x'.repeat(600) }, /Description/],
  ];
  for (const [body, message] of cases) {
    const given = meshIntentionSchema.parse(body);
    assert.throws(
      () => parseMeshIntention(given, pair, 0),
      (error) => isMeshError(error) && error.code === 'SLV-5004' && message.test(error.message),
      JSON.stringify(body),
    );
  }
  for (const unknown of [{ action: 'permit' }, { action: 'allow', actoin: 'deny' }, { permissions: [] }]) {
    assert.equal(meshIntentionSchema.safeParse(unknown).success, false);
  }
  assert.throws(() => parseMeshIntention({ action: 'allow' }, { source: 'web*', destination: 'db' }, 0));
  assert.throws(() => parseMeshIntention({ action: 'allow' }, { source: 'web', destination: '' }, 0));
});

test('property: what is formatted parses to the same', () => {
  const permission = fc.record({
    action: fc.constantFrom<'allow' | 'deny'>('allow', 'deny'),
    http: fc.oneof(
      fc.constantFrom('/a', '/b/').map((pathPrefix) => ({ pathPrefix, methods: ['GET', 'PUT'] })),
      fc.constantFrom('/a', '/b').map((pathExact) => ({ pathExact })),
      fc.constant({ headers: [{ name: 'x', exact: 'y', invert: true, ignoreCase: true }] }),
      fc.constant({ pathRegex: '/a[0-9]+', headers: [{ name: 'x', present: true as const }] }),
    ),
  });
  const body = fc.oneof(
    fc.record({
      action: fc.constantFrom<'allow' | 'deny'>('allow', 'deny'),
      observe: fc.constant(true),
      expiresAt: fc.constant('1970-01-02T00:00:00.000Z'),
    }),
    fc.record({ permissions: fc.array(permission, { minLength: 1, maxLength: 5 }), description: fc.constant('why') }),
  );
  fc.assert(
    fc.property(body.map(plain), (given) => {
      const draft = parseMeshIntention(given, pair, 0);
      assert.deepEqual(formatMeshIntention(draft), given);
      assert.deepEqual(parseMeshIntention(meshIntentionSchema.parse(formatMeshIntention(draft)), pair, 0), draft);
    }),
  );
});

/** fast-check's records are typed by their constants and have no prototype. */
function plain(body: object): MeshIntention {
  return structuredClone(body);
}
