import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileHeaderRule, type HeaderSource, lookalikesAmong } from './header-rule.ts';
import type { HeaderMatch } from './intention.ts';

/** `name: value` lines. */
function request(...lines: readonly string[]): HeaderSource {
  const parsed = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const);
  return {
    headerValues: (name) => parsed.filter(([of]) => of === name).map(([, value]) => value),
    headerLookalikes: (name) => lookalikesAmong(parsed, name),
  };
}

const admin: HeaderMatch = { name: 'X-Role', exact: 'admin' };
/** Rule, lines, whether an allow matches, whether a deny does. */
const cases: readonly (readonly [HeaderMatch, readonly string[], boolean, boolean])[] = [
  [admin, ['x-role:admin'], true, true],
  [admin, ['x-role: admin\t'], true, true],
  [admin, [], false, false],
  [admin, ['x-role:user'], false, false],
  // CVE-2024-10006, CVE-2020-25017, CVE-2026-26308: repeated, joined, folded, renamed.
  [admin, ['x-role:user', 'x-role:admin'], false, true],
  [admin, ['x-role:admin', 'x-role:user'], false, true],
  [admin, ['x-role:user,admin'], false, true],
  [admin, ['x-role:user , admin,'], false, true],
  [admin, ['x-role:ADMIN'], false, true],
  [admin, ['x_role:admin'], false, true],
  [admin, ['x-role:admin', 'x_role:user'], false, true],
  [admin, ['x-role:admin', 'x_role:admin'], false, true],
  [{ name: 'x_role', exact: 'admin' }, ['x-role:admin'], false, true],
  [{ name: 'x_role', exact: 'admin' }, ['X_Role:admin'.toLowerCase()], true, true],
  // However many separators, and however they are mixed.
  [{ name: 'a-b-c-d-e-f', exact: 'q' }, ['a-b_c-d_e-f:q'], false, true],
  [{ name: 'a-b-c-d-e-f', exact: 'q' }, ['a-b-c-d-e-f:q', 'a_b-c_d-e_f:z'], false, true],
  [{ name: 'a-b-c-d-e-f', exact: 'q' }, ['a-b-c-d-ef:q'], false, false],
  // Lines of one name joined, and of all names that look alike.
  [{ name: 'x-y', exact: 'a,b' }, ['x_y:a', 'x-y:c', 'x_y:b'], false, true],
  [{ name: 'x-y', exact: 'a,b' }, ['x_y:a', 'x-y:b'], false, true],
  // CVE-2026-73552: bytes that no rule interprets.
  [admin, ['x-role:admin\u00ff'], false, true],
  [admin, ['x-role:us\u00e9r'], false, true],
  [admin, ['x-role:admin\u0000'], false, true],
  [{ name: 'x-role', regex: '[a-z]+' }, ['x-role:\u00e9'], false, true],
  [{ ...admin, ignoreCase: true }, ['x-role:Admin'], true, true],
  [{ name: 'x-role', present: true }, ['x-role:'], true, true],
  [{ name: 'x-role', present: true }, [], false, false],
  [{ name: 'x-role', present: true }, ['x_role:a'], false, true],
  [{ name: 'x-role', present: true, invert: true }, [], true, true],
  [{ name: 'x-role', present: true, invert: true }, ['x-role:a'], false, false],
  [{ name: 'x-role', present: true, invert: true }, ['x_role:a'], false, true],
  // An inverted matcher on an absent header: closed on both sides.
  [{ ...admin, invert: true }, [], false, true],
  [{ ...admin, invert: true }, ['x-role:user'], true, true],
  [{ ...admin, invert: true }, ['x-role:admin'], false, false],
  [{ ...admin, invert: true }, ['x-role:Admin'], false, true],
  [{ ...admin, invert: true }, ['x-role:user,admin'], false, true],
  [{ name: 'x', prefix: 'ab' }, ['x:abc'], true, true],
  [{ name: 'x', prefix: 'ab' }, ['x:abc, c'], false, true],
  [{ name: 'x', suffix: 'bc' }, ['x:abc'], true, true],
  [{ name: 'x', suffix: 'bc' }, ['x:bca'], false, false],
  [{ name: 'x', contains: 'b' }, ['x:abc'], true, true],
  [{ name: 'x', contains: 'b' }, ['x:abc', 'x:d'], false, true],
  [{ name: 'x', regex: 'a.c' }, ['x:abc'], true, true],
  [{ name: 'x', regex: 'a.c' }, ['x:abcd'], false, false],
  [{ name: 'x', regex: 'a.c' }, ['x:q, ABC'], false, true],
  [{ name: 'x', regex: '[a-z]{1,3}' }, ['x:abc, abcd'], false, true],
  // A rule that speaks of commas always matches its own spelling.
  [{ name: 'accept', exact: 'text/html, text/plain' }, ['accept:text/html, text/plain'], true, true],
  [{ name: 'accept', exact: 'text/html, text/plain' }, ['accept:text/html', 'accept:text/plain'], false, true],
  [{ name: 'accept', exact: 'text/html, text/plain' }, ['accept:text/html,text/plain'], false, true],
  [{ name: 'accept', regex: 'a, ?b' }, ['accept:a, b'], true, true],
  // Names that are properties of every object are only names.
  [{ name: 'constructor', present: true }, [], false, false],
  [{ name: '__proto__', exact: 'x' }, ['__proto__:x'], true, true],
];

test('an allow matches if all readings do, a deny if any does', () => {
  for (const [match, lines, permits, forbids] of cases) {
    const rule = compileHeaderRule(match);
    const say = `${JSON.stringify(match)} ${JSON.stringify(lines)}`;
    assert.equal(rule.permits(request(...lines)), permits, `allow ${say}`);
    assert.equal(rule.forbids(request(...lines)), forbids, `deny ${say}`);
  }
});

test('names with many separators', () => {
  const rule = compileHeaderRule({ name: 'x-a-b-c', exact: '1' });
  for (const name of ['x-a-b-c', 'x_a-b-c', 'x-a_b-c', 'x_a_b_c', 'x-a-b_c'])
    assert.ok(rule.forbids(request(`${name}:1`)), name);
  const long = compileHeaderRule({ name: 'x-a-b-c-d-e', exact: '1' });
  for (const name of ['x_a_b_c_d_e', 'x-a-b_c-d-e']) assert.ok(long.forbids(request(`${name}:1`)), name);
});

test('conditions that are none', () => {
  for (const match of [
    { name: 'x' },
    { name: 'x', exact: 'a', prefix: 'b' },
    { name: '', exact: 'a' },
    { name: 'x y', exact: 'a' },
    { name: 'x', exact: '\u00e9' },
    { name: 'x', regex: '(' },
    { name: 'x', regex: '(?=a)' },
    JSON.parse('{"name":"x","present":false}'),
    JSON.parse('{"name":"x","exact":"a","range":"b"}'),
  ]) {
    assert.throws(() => compileHeaderRule(match), SyntaxError, JSON.stringify(match));
  }
});
