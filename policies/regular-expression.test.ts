import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileRegularExpression } from './regular-expression.ts';

test('the whole text has to match', () => {
  const { matches, matchesFolded } = compileRegularExpression('/a|/b+');
  for (const [text, strict, folded] of [
    ['/a', true, true],
    ['/bbb', true, true],
    ['/A', false, true],
    ['/ab', false, false],
    ['x/a', false, false],
    ['/a\n', false, false],
    ['', false, false],
  ] as const) {
    assert.equal(matches(text), strict, text);
    assert.equal(matchesFolded(text), folded, text);
  }
});

test('patterns that are not RE2, or too large, are refused with a reason', () => {
  for (const source of [
    '(',
    '[a',
    'a{1001}',
    '(?=a)',
    '(?<!a)b',
    '\\1',
    '((a{100}){100}){100}',
    'x'.repeat(1_025),
    '[^a]{1000}',
  ]) {
    assert.throws(() => compileRegularExpression(source), SyntaxError, source.slice(0, 20));
  }
});

test('a pattern that backtracks for ever in JavaScript ends', () => {
  const evil = compileRegularExpression('(/a+)+(a|aa)*(.*)*!');
  assert.equal(evil.matches(`/${'a'.repeat(8_000)}`), false);
});

test('foundIn: some part of the text is enough', () => {
  const { foundIn } = compileRegularExpression('b+$');
  assert.equal(foundIn('aab'), true);
  assert.equal(foundIn('aba'), false);
});
