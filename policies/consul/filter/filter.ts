import { quote } from '../../quote.ts';
import { compileRegularExpression } from '../../regular-expression.ts';
import { ConsulError } from '../consul-error.ts';
import type { Expression, Operator, Selector } from './expression.ts';
import type { Field, Fields } from './fields.ts';
import { parseExpression } from './grammar.ts';
import { GrammarError } from './peg.ts';

/** Whether something passes. */
export type Filter = (thing: unknown) => boolean;

/** Longest filter, in characters. */
export const maxFilterLength = 8_192;

/** A filter that can't be used; the message is go-bexpr's. */
class FilterFlaw extends Error {}

/**
 * Compiles `?filter=` for the things of one list. Strict: a selector that is no field of theirs, an operator that does not go with it, a value of
 * another type are refused before anything is looked at.
 *
 * @param text as sent; empty: everything passes
 * @throws ConsulError 400 in Consul's words
 */
export function compileFilter(text: string, fields: Fields): Filter {
  if (text === '') return () => true;
  try {
    if (text.length > maxFilterLength) throw new FilterFlaw(`longer than ${maxFilterLength} characters`);
    return compile(parseExpression(text), fields);
  } catch (error) {
    if (!(error instanceof FilterFlaw || error instanceof GrammarError)) throw error;
    throw new ConsulError(400, `Failed to create boolean expression evaluator: ${error.message}`);
  }
}

function compile(expression: Expression, fields: Fields): Filter {
  switch (expression.kind) {
    case 'not': {
      const operand = compile(expression.operand, fields);
      return (thing) => !operand(thing);
    }
    case 'and': {
      const left = compile(expression.left, fields);
      const right = compile(expression.right, fields);
      return (thing) => left(thing) && right(thing);
    }
    case 'or': {
      const left = compile(expression.left, fields);
      const right = compile(expression.right, fields);
      return (thing) => left(thing) || right(thing);
    }
    case 'match': {
      const { selector, operator, value } = expression;
      const field = fieldOf(selector, fields);
      if (!supported(field).includes(operator)) {
        throw new FilterFlaw(`Invalid match operator ${quote(operator)} for selector ${shown(selector)}`);
      }
      const test = value === undefined ? isEmpty(field) : comparison(selector, field, operator, value);
      const negative = operator === 'Is Not Empty' || operator.startsWith('Not ');
      // What is not in a map differs from all, is in nothing and is empty.
      const absent = operator === 'Is Empty' || operator.startsWith('Not ');
      return reach({ kind: 'object', fields }, selector, negative ? (thing) => !test(thing) : test, absent);
    }
  }
}

function fieldOf(selector: Selector, fields: Fields): Field {
  let field: Field = { kind: 'object', fields };
  for (const [at, name] of selector.entries()) {
    const inner = inside(field);
    if (inner?.kind === 'map') field = inner.of;
    else if (inner?.kind === 'object' && Object.hasOwn(inner.fields, name)) field = inner.fields[name] ?? field;
    else throw new FilterFlaw(`Selector ${shown(selector.slice(0, at + 1))} is not valid`);
  }
  return field;
}

/** What a name in a selector is looked up in; a list stands for each of its items. */
function inside(field: Field): Extract<Field, { kind: 'map' | 'object' }> | undefined {
  if (field.kind === 'list') return inside(field.of);
  return field.kind === 'map' || field.kind === 'object' ? field : undefined;
}

function supported(field: Field): readonly Operator[] {
  switch (field.kind) {
    case 'text':
      return ['Equal', 'Not Equal', 'In', 'Not In', 'Matches', 'Not Matches'];
    case 'number':
    case 'flag':
      return ['Equal', 'Not Equal'];
    case 'map':
      return ['Is Empty', 'Is Not Empty', 'In', 'Not In'];
    case 'list':
      return inside(field.of) === undefined
        ? ['In', 'Not In', 'Is Empty', 'Is Not Empty']
        : ['Is Empty', 'Is Not Empty'];
    case 'object':
      return [];
  }
}

function isEmpty(field: Field): Filter {
  if (field.kind === 'map') return (thing) => Object.keys(entriesOf(thing)).length === 0;
  return (thing) => itemsOf(thing).length === 0;
}

function comparison(selector: Selector, field: Field, operator: Operator, raw: string): Filter {
  const value = coerce(selector, field.kind === 'list' ? field.of : field, raw);
  if (operator === 'Matches' || operator === 'Not Matches') {
    const found = pattern(raw);
    return (thing) => found(textOf(thing));
  }
  switch (field.kind) {
    case 'list':
      return (thing) => itemsOf(thing).includes(value);
    case 'map':
      return (thing) => Object.hasOwn(entriesOf(thing), raw);
    case 'text':
      if (operator === 'In' || operator === 'Not In') return (thing) => textOf(thing).includes(raw);
      return (thing) => textOf(thing) === raw;
    case 'number':
      return (thing) => (thing ?? 0) === value;
    case 'flag':
      return (thing) => (thing ?? false) === value;
    case 'object':
      return () => false; // no operator of an object gets here
  }
}

function pattern(raw: string): (text: string) => boolean {
  try {
    return compileRegularExpression(raw).foundIn;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new FilterFlaw(`Failed to compile regular expression ${quote(raw)}: ${error.message}`);
  }
}

/** Walks from the whole thing to what the selector names. Of a list, one item that passes is enough. */
function reach(field: Field, path: readonly string[], test: Filter, absent: boolean): Filter {
  const [name, ...rest] = path;
  if (name === undefined) return test;
  switch (field.kind) {
    case 'list': {
      const item = reach(field.of, path, test, absent);
      return (thing) => itemsOf(thing).some(item);
    }
    case 'map': {
      const next = reach(field.of, rest, test, absent);
      return (thing) => {
        const entries = entriesOf(thing);
        return Object.hasOwn(entries, name) ? next(entries[name]) : absent;
      };
    }
    case 'object': {
      const next = reach(field.fields[name] ?? field, rest, test, absent);
      return (thing) => next(entriesOf(thing)[name]);
    }
    default:
      return test;
  }
}

/** Reads the value of an expression as the field's type, as Go's strconv does. Throws FilterFlaw. */
function coerce(selector: Selector, field: Field, raw: string): string | number | boolean {
  const refuse = (reader: string, why: string): FilterFlaw =>
    new FilterFlaw(
      `Failed to coerce value ${quote(raw)} for selector ${shown(selector)}: strconv.${reader}: parsing ${quote(raw)}: ${why}`,
    );
  if (field.kind === 'flag') {
    if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(raw)) return true;
    if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(raw)) return false;
    throw refuse('ParseBool', 'invalid syntax');
  }
  if (field.kind !== 'number') return raw;
  const [, sign, digits = ''] = /^([+-]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)$/.exec(raw) ?? [];
  if (digits === '') throw refuse('ParseInt', 'invalid syntax');
  const value = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits) * (sign === '-' ? -1n : 1n);
  if (BigInt.asIntN(64, value) !== value) throw refuse('ParseInt', 'value out of range');
  return Number(value);
}

function shown(selector: readonly string[]): string {
  return quote(selector.join('.'));
}

function textOf(thing: unknown): string {
  return typeof thing === 'string' ? thing : '';
}

function itemsOf(thing: unknown): readonly unknown[] {
  return Array.isArray(thing) ? thing : [];
}

function entriesOf(thing: unknown): Readonly<Record<string, unknown>> {
  return typeof thing === 'object' && thing !== null ? (thing as Record<string, unknown>) : {};
}
