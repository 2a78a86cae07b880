import type { Expression, Operator, Selector } from './expression.ts';
import { unquoteGo } from './go-string.ts';
import {
  ahead,
  anything,
  character,
  choice,
  literal,
  made,
  many,
  maybe,
  not,
  type Pattern,
  parseAll,
  refuse,
  rule,
  sequence,
} from './peg.ts';

/**
 * The grammar of Consul's filters: that of go-bexpr 0.1.2, which Consul has used since 1.5, rule by rule, since its error texts follow from it.
 *
 * Selectors are `Name`, `Name.Name`, `Name["any text"]`; values are bare words (`web`, `a.b`), numbers, and Go strings in "" or ``.
 */

/** Throws GrammarError, in go-bexpr's words. */
export function parseExpression(text: string): Expression {
  return parseAll(input, text);
}

const space: Pattern<unknown> = rule('"whitespace"', () => {
  const one = character('[ \\t\\r\\n]', /^[ \t\r\n]$/);
  return sequence(one, many(one));
});
const spaces = maybe(space);
const end: Pattern<unknown> = rule('EOF', () => not(anything));

const input: Pattern<Expression> = rule('Input', () =>
  choice(
    made(sequence(spaces, literal('('), spaces, or, spaces, literal(')'), spaces, end), (found) => found[3]),
    made(sequence(spaces, or, spaces, end), (found) => found[1]),
  ),
);

const or: Pattern<Expression> = rule('OrExpression', () =>
  choice(
    joined('or', and, () => or),
    and,
  ),
);

const and: Pattern<Expression> = rule('AndExpression', () =>
  choice(
    joined('and', negation, () => and),
    negation,
  ),
);

function joined(kind: 'and' | 'or', left: Pattern<Expression>, right: () => Pattern<Expression>): Pattern<Expression> {
  return made(sequence(left, space, literal(kind), space, right()), (found) => ({
    kind,
    left: found[0],
    right: found[4],
  }));
}

const negation: Pattern<Expression> = rule('NotExpression', () =>
  choice(
    made(
      sequence(literal('not'), space, negation),
      ([, , operand]): Expression => (operand.kind === 'not' ? operand.operand : { kind: 'not', operand }),
    ),
    group,
  ),
);

const group: Pattern<Expression> = rule('"grouping"', () =>
  choice<Expression>(
    made(sequence(literal('('), spaces, or, spaces, literal(')')), (found) => found[2]),
    match,
    made(
      sequence(literal('('), spaces, or, spaces, not(literal(')')), refuse('Unmatched parentheses')),
      (found) => found[5],
    ),
  ),
);

const operatorOf = (operator: Operator, pattern: Pattern<unknown>): Pattern<Operator> =>
  made(pattern, (): Operator => operator);
const words = (...parts: readonly string[]): Pattern<unknown> =>
  sequence<unknown[]>(...parts.flatMap((part) => [space, literal(part)]));

const equal = rule('MatchEqual', () => operatorOf('Equal', sequence(spaces, literal('=='), spaces)));
const notEqual = rule('MatchNotEqual', () => operatorOf('Not Equal', sequence(spaces, literal('!='), spaces)));
const isEmpty = rule('MatchIsEmpty', () => operatorOf('Is Empty', words('is', 'empty')));
const isNotEmpty = rule('MatchIsNotEmpty', () => operatorOf('Is Not Empty', words('is', 'not', 'empty')));
const isIn = rule('MatchIn', () => operatorOf('In', sequence(words('in'), space)));
const notIn = rule('MatchNotIn', () => operatorOf('Not In', sequence(words('not', 'in'), space)));
const contains = rule('MatchContains', () => operatorOf('In', sequence(words('contains'), space)));
const notContains = rule('MatchNotContains', () => operatorOf('Not In', sequence(words('not', 'contains'), space)));
const matches = rule('MatchMatches', () => operatorOf('Matches', sequence(words('matches'), space)));
const notMatches = rule('MatchNotMatches', () => operatorOf('Not Matches', sequence(words('not', 'matches'), space)));

const match: Pattern<Expression> = rule('"match"', () => choice(selectorFirst, emptiness, valueFirst));

const selectorFirst: Pattern<Expression> = rule('"match"', () =>
  made(
    sequence(selector, choice(equal, notEqual, contains, notContains, matches, notMatches), value),
    ([chosen, operator, raw]): Expression => ({ kind: 'match', selector: chosen, operator, value: raw }),
  ),
);

const emptiness: Pattern<Expression> = rule('"match"', () =>
  made(
    sequence(selector, choice(isEmpty, isNotEmpty)),
    ([chosen, operator]): Expression => ({ kind: 'match', selector: chosen, operator, value: undefined }),
  ),
);

const valueFirst: Pattern<Expression> = rule('"match"', () =>
  choice<Expression>(
    made(
      sequence(value, choice(isIn, notIn), selector),
      ([raw, operator, chosen]): Expression => ({ kind: 'match', selector: chosen, operator, value: raw }),
    ),
    made(sequence(value, choice(isIn, notIn), not(selector), refuse('Invalid selector')), (found) => found[3]),
  ),
);

const selector: Pattern<Selector> = rule('"selector"', () =>
  made(sequence(identifier, many(step)), ([first, rest]): Selector => [first, ...rest]),
);

const identifier: Pattern<string> = rule('Identifier', () =>
  made(
    sequence(character('[a-zA-Z]', /^[a-zA-Z]$/), many(character('[a-zA-Z0-9_]', /^[a-zA-Z0-9_]$/))),
    (_, text) => text,
  ),
);

const step: Pattern<string> = rule('SelectorOrIndex', () =>
  choice(
    made(sequence(literal('.'), identifier), ([, name]) => name),
    index,
  ),
);

const index: Pattern<string> = rule('"index"', () =>
  choice<string>(
    made(sequence(literal('['), spaces, string, spaces, literal(']')), (found) => found[2]),
    made(sequence(literal('['), spaces, not(string), refuse('Invalid index')), (found) => found[3]),
    made(
      sequence(literal('['), spaces, string, spaces, not(literal(']')), refuse('Unclosed index expression')),
      (found) => found[5],
    ),
  ),
);

const value: Pattern<string> = rule('"value"', () =>
  choice(
    made(selector, (chosen) => chosen.join('.')),
    number,
    string,
  ),
);

const number: Pattern<string> = rule('"number"', () => {
  const digits = sequence(maybe(literal('-')), integerOrFloat);
  return choice<string>(
    made(sequence(digits, ahead(afterNumbers)), (_, text) => text),
    made(sequence(digits, not(afterNumbers), refuse('Invalid number literal')), (found) => found[2]),
  );
});

const afterNumbers: Pattern<unknown> = rule('AfterNumbers', () => ahead(choice<unknown>(space, end, literal(')'))));

const integerOrFloat: Pattern<unknown> = rule('IntegerOrFloat', () => {
  const digit = character('[0-9]', /^[0-9]$/);
  const whole = choice<unknown>(literal('0'), sequence(character('[1-9]', /^[1-9]$/), many(digit)));
  return sequence(whole, maybe(sequence(literal('.'), digit, many(digit))));
});

const string: Pattern<string> = rule('"string"', () => {
  const raw = sequence(literal('`'), many(rawCharacter));
  const double = sequence(literal('"'), many(doubleCharacter));
  return choice<string>(
    made(
      choice<unknown>(sequence(raw, literal('`')), sequence(double, literal('"'))),
      (_, text) => unquoteGo(text),
      '',
    ),
    made(sequence(choice<unknown>(raw, double), end, refuse('Unterminated string literal')), (found) => found[2]),
  );
});

const rawCharacter: Pattern<unknown> = rule('RawStringChar', () => sequence(not(literal('`')), anything));
const doubleCharacter: Pattern<unknown> = rule('DoubleStringChar', () => sequence(not(literal('"')), anything));
