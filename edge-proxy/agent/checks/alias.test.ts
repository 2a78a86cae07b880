import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type AliasedCheck, aliasResult } from './alias.ts';

const check = (name: string, status: AliasedCheck['status'], serviceId = 'db'): AliasedCheck => ({
  name,
  serviceId,
  status,
  output: `${name} says`,
});

describe('alias', () => {
  const cases: readonly [string, AliasedCheck[], exists: boolean, status: string, output: string][] = [
    ['no checks', [], true, 'passing', 'No checks found.'],
    ['all well', [check('a', 'passing')], true, 'passing', 'All checks passing.'],
    ['one warns', [check('a', 'warning'), check('b', 'passing')], true, 'warning', 'Aliased check "a" failing: a says'],
    [
      'the worst counts',
      [check('a', 'warning'), check('b', 'critical')],
      true,
      'critical',
      'Aliased check "b" failing: b says',
    ],
    ['the node counts too', [check('n', 'critical', '')], true, 'critical', 'Aliased check "n" failing: n says'],
    ['other services do not', [check('x', 'critical', 'web')], true, 'passing', 'No checks found.'],
    [
      'it is not there',
      [check('a', 'passing', 'web')],
      false,
      'critical',
      'Service db could not be found on node vm-1',
    ],
  ];
  for (const [title, checks, exists, status, output] of cases) {
    it(title, () =>
      assert.deepEqual(aliasResult({ node: 'vm-1', serviceId: 'db' }, checks, exists), { status, output }),
    );
  }

  it('of a node looks at the checks of the node alone', () => {
    const node = { node: 'vm-2', serviceId: '' };
    assert.equal(aliasResult(node, [check('a', 'critical'), check('n', 'passing', '')], true).status, 'passing');
    assert.equal(aliasResult(node, [], false).output, 'Node vm-2 could not be found');
  });
});
