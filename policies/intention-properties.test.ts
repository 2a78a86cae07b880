import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicaliseTarget } from './canonical-request.ts';
import { disguises, hidesOnly } from './disguises.fixture.ts';
import {
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
} from './generated-policies.fixture.ts';
import type { HttpMatch, Intention, Permission } from './intention.ts';
import { allows, intention, type Request } from './requests.fixture.ts';
import { slowDecision } from './slow-evaluator.fixture.ts';

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

test('property: no disguise of a request is allowed more than the request itself', async (t) => {
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
            if (!hidesOnly(name, policy, request)) return;
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
