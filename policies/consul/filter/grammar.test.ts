import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Expression, Operator } from './expression.ts';
import { parseExpression } from './grammar.ts';
import { GrammarError } from './peg.ts';

const match = (selector: readonly [string, ...string[]], operator: Operator, value?: string): Expression => ({
  kind: 'match',
  selector,
  operator,
  value,
});

test('what is written is what is meant', () => {
  const a = match(['a'], 'Equal', '1');
  const b = match(['b'], 'Equal', '2');
  const c = match(['c'], 'Equal', '3');
  const table: readonly [string, Expression][] = [
    ['Node==web', match(['Node'], 'Equal', 'web')],
    ['\t\r\n Node\n==\t`web` ', match(['Node'], 'Equal', 'web')],
    ['Node != "we b"', match(['Node'], 'Not Equal', 'we b')],
    ['Node == a.b.c', match(['Node'], 'Equal', 'a.b.c')],
    ['Node == `a\\nb`', match(['Node'], 'Equal', 'a\\nb')],
    ['Node == "a\\nb\\u00e9\\x41\\101\\t"', match(['Node'], 'Equal', 'a\nbéAA\t')],
    ['Node == "\\xc3\\xa9"', match(['Node'], 'Equal', 'é')],
    ['Port == 80', match(['Port'], 'Equal', '80')],
    ['Port == -0.25', match(['Port'], 'Equal', '-0.25')],
    ['v1 in Tags', match(['Tags'], 'In', 'v1')],
    ['Tags contains v1', match(['Tags'], 'In', 'v1')],
    ['"v 1" not in Tags', match(['Tags'], 'Not In', 'v 1')],
    ['Tags not contains `v 1`', match(['Tags'], 'Not In', 'v 1')],
    ['Tags is empty', match(['Tags'], 'Is Empty')],
    ['Tags is  not\tempty', match(['Tags'], 'Is Not Empty')],
    ['Node matches "^web-[0-9]+$"', match(['Node'], 'Matches', '^web-[0-9]+$')],
    ['Node not matches `x`', match(['Node'], 'Not Matches', 'x')],
    ['Node.Meta.rack == r1', match(['Node', 'Meta', 'rack'], 'Equal', 'r1')],
    ['Meta["a-b c.é"] == x', match(['Meta', 'a-b c.é'], 'Equal', 'x')],
    ['Meta[ `a` ].b["c"] is empty', match(['Meta', 'a', 'b', 'c'], 'Is Empty')],
    ['not a == 1', { kind: 'not', operand: a }],
    ['not not a == 1', a],
    ['a == 1 and b == 2 or c == 3', { kind: 'or', left: { kind: 'and', left: a, right: b }, right: c }],
    ['a == 1 or b == 2 and c == 3', { kind: 'or', left: a, right: { kind: 'and', left: b, right: c } }],
    ['(a == 1 or b == 2) and c == 3', { kind: 'and', left: { kind: 'or', left: a, right: b }, right: c }],
    ['not (a == 1 or b == 2)', { kind: 'not', operand: { kind: 'or', left: a, right: b } }],
  ];
  for (const [text, expected] of table) assert.deepEqual(parseExpression(text), expected, text);
});

/** The texts are what go-bexpr says: place as line:column (byte), the rule, and what could have stood there. */
test('what is wrong is said in the words of go-bexpr', () => {
  const operand = '"(", "-", "0", "\\"", "`", "not", [ \\t\\r\\n], [1-9] or [a-zA-Z]';
  for (const [text, message] of [
    ['', `1:1 (0): no match found, expected: ${operand}`],
    ['Tag in Tags and ', `1:17 (16): no match found, expected: ${operand}`],
    ['Node == "we', '1:12 (11): rule "string": Unterminated string literal'],
    ['Node == `we', '1:12 (11): rule "string": Unterminated string literal'],
    ['Node == "we\\"', '1:9 (8): rule "string": invalid syntax'],
    ['Node == "\\q"', '1:9 (8): rule "string": invalid syntax'],
    ['Node == "\\ud800"', '1:9 (8): rule "string": invalid syntax'],
    ['Node == "a\nb"', '1:9 (8): rule "string": invalid syntax'],
    ['(a==1)and b==2', '1:7 (6): no match found, expected: [ \\t\\r\\n] or EOF'],
    ['Port == 8x', '1:10 (9): rule "number": Invalid number literal'],
    ['Meta[8] == x', '1:6 (5): rule "index": Invalid index'],
    ['x in Meta["a"', '1:14 (13): rule "index": Unclosed index expression'],
    ['x in 8', '1:6 (5): rule "match": Invalid selector'],
    ['8 == 8', '1:3 (2): no match found, expected: "in", "not" or [ \\t\\r\\n]'],
    ['v in Tags x', '1:11 (10): no match found, expected: "and", "or", [ \\t\\r\\n] or EOF'],
    ['(Port == 8', '1:11 (10): rule "grouping": Unmatched parentheses'],
    ['Node == my-node', '1:11 (10): no match found, expected: ".", "[", [ \\t\\r\\n], [a-zA-Z0-9_] or EOF'],
    ['Node ==\n"é" x', '2:5 (13): no match found, expected: "and", "or", [ \\t\\r\\n] or EOF'],
  ] as const) {
    assert.throws(() => parseExpression(text), { message }, text);
  }
});

test('depth is bounded, and what goes wrong deep inside costs no more than its length', () => {
  const nested = (levels: number, close = levels) => `${'('.repeat(levels)}a == 1${')'.repeat(close)}`;
  assert.deepEqual(parseExpression(nested(100)), match(['a'], 'Equal', '1'));
  assert.throws(() => parseExpression(nested(100, 99)), { message: /Unmatched parentheses/ });
  for (const text of [nested(3_000), `${'not '.repeat(2_000)}a == 1`, `${'a == 1 and '.repeat(2_000)}a == 1`]) {
    assert.throws(() => parseExpression(text), { message: 'the expression is nested too deeply' });
  }
  assert.equal(parseExpression(`${'a == 1 or '.repeat(100)}a == 1`).kind, 'or');
});

const name = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9_]{0,8}$/).filter((text) => !/^not$/.test(text));
const path = fc.tuple(name, fc.array(fc.oneof(name, fc.string({ maxLength: 8 }).map(unquotable)), { maxLength: 3 }));
const leaf: fc.Arbitrary<Expression> = fc.oneof(
  fc
    .tuple(
      path,
      fc.constantFrom<Operator>('Equal', 'Not Equal', 'In', 'Not In', 'Matches', 'Not Matches'),
      fc.string({ unit: 'binary', maxLength: 12 }).map(unquotable),
    )
    .map(([[first, rest], operator, value]) => match([first, ...rest], operator, value)),
  fc
    .tuple(path, fc.constantFrom<Operator>('Is Empty', 'Is Not Empty'))
    .map(([[first, rest], operator]) => match([first, ...rest], operator)),
);
const { expression } = fc.letrec<{ expression: Expression }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    leaf,
    fc.record({ kind: fc.constant('not' as const), operand: tie('expression') }),
    fc.record({
      kind: fc.constantFrom('and' as const, 'or' as const),
      left: tie('expression'),
      right: tie('expression'),
    }),
  ),
}));

/** What can stand between backquotes as it is. */
function unquotable(text: string): string {
  return text.toWellFormed().replace(/[`\r]/g, '');
}

const wordOf: Readonly<Record<Operator, string>> = {
  Equal: '==',
  'Not Equal': '!=',
  In: 'contains',
  'Not In': 'not contains',
  Matches: 'matches',
  'Not Matches': 'not matches',
  'Is Empty': 'is empty',
  'Is Not Empty': 'is not empty',
};

function print(one: Expression): string {
  switch (one.kind) {
    case 'not':
      return `not (${print(one.operand)})`;
    case 'match': {
      const [first, ...rest] = one.selector;
      const selector = first + rest.map((part) => `[\`${part}\`]`).join('');
      return `${selector} ${wordOf[one.operator]}${one.value === undefined ? '' : ` \`${one.value}\``}`;
    }
    default:
      return `(${print(one.left)}) ${one.kind} (${print(one.right)})`;
  }
}

/** Two negations in a row are none. */
function simplify(one: Expression): Expression {
  if (one.kind === 'match') return one;
  if (one.kind !== 'not') return { ...one, left: simplify(one.left), right: simplify(one.right) };
  const operand = simplify(one.operand);
  return operand.kind === 'not' ? operand.operand : { kind: 'not', operand };
}

test('every expression that can be written is read as what it was', () => {
  fc.assert(
    fc.property(expression, (one) => {
      assert.deepEqual(parseExpression(print(one)), simplify(one));
    }),
  );
});

test('any text is an expression or refused with one message', () => {
  const fragments = fc.constantFrom(
    '(',
    ')',
    ' ',
    'a',
    '==',
    '"',
    '`',
    ' in ',
    ' not ',
    ' and ',
    '[',
    ']',
    '.',
    '8',
    '\n',
    'é',
  );
  fc.assert(
    fc.property(fc.array(fragments, { maxLength: 30 }), (parts) => {
      try {
        parseExpression(parts.join(''));
      } catch (error) {
        assert.ok(error instanceof GrammarError);
        assert.match(error.message, /^\d+:\d+ \(\d+\): /);
      }
    }),
    { numRuns: 500 },
  );
});
