import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { grants, requireGrantable } from './grant.ts';

const cases: readonly [pattern: string, service: string, granted: boolean][] = [
  ['web', 'web', true],
  ['web', 'Web', false],
  ['web', 'web2', false],
  ['web', 'we', false],
  ['*', 'anything', true],
  ['web*', 'web', true],
  ['web*', 'web-admin', true],
  ['web*', 'xweb', false],
  ['web.*', 'web1', false],
  ['*', 'selvedge-catalog', false],
  ['s*', 'selvedge-catalog', false],
  ['selvedge*', 'selvedge-catalog', false],
  ['selvedge-catalog', 'selvedge-catalog', true],
  ['selvedge-c*', 'selvedge-catalog', true],
  ['*', 'selvedge-identity', false],
  ['selvedge-*', 'selvedge-identity', false],
  ['selvedge-identity', 'selvedge-identity', false],
];

for (const [pattern, service, granted] of cases) {
  test(`${pattern} ${granted ? 'grants' : 'does not grant'} ${service}`, () => {
    assert.equal(grants([pattern], service), granted);
  });
}

test('one pattern that grants is enough, none grants nothing', () => {
  assert.equal(grants(['db', 'web'], 'web'), true);
  assert.equal(grants([], 'web'), false);
});

test('a grant of the identity service itself is refused', () => {
  assert.throws(
    () => requireGrantable(['web', 'selvedge-identity']),
    (error) => isMeshError(error, 'SLV-2120'),
  );
  requireGrantable(['web', 'selvedge-catalog', '*']);
});
