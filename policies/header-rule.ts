import type { HeaderMatch } from './intention.ts';
import { compileRegularExpression } from './regular-expression.ts';

/** How rules look up headers. */
export interface HeaderSource {
  /** The value of each line of that name, in order, as the codec read them; [] where there is none. */
  headerValues(lowerCaseName: string): readonly string[];
  /**
   * Each line whose name is that one but for `-` and `_`, which gateways of CGI's kind take for the same, in order, with its name in lower case. [] where none but those of
   * that very name are.
   */
  headerLookalikes(lowerCaseName: string): readonly HeaderLine[];
}

/** A line of a header. */
export type HeaderLine = readonly [name: string, value: string];

/** The lines of a list that a rule of that name has to look at besides its own: see HeaderSource. */
export function lookalikesAmong(lines: readonly HeaderLine[], lowerCaseName: string): readonly HeaderLine[] {
  const dashed = lowerCaseName.replaceAll('_', '-');
  const alike = lines
    .map(([name, value]): HeaderLine => [name.toLowerCase(), value])
    .filter(([name]) => name.replaceAll('_', '-') === dashed);
  return alike.every(([name]) => name === lowerCaseName) ? [] : alike;
}

/** One header condition of a permission. */
export interface HeaderRule {
  /** For an allow: whether every reading matches. */
  permits(request: HeaderSource): boolean;
  /** For a deny: whether any reading matches. */
  forbids(request: HeaderSource): boolean;
}

/** A test of one value, as written and without regard to case. */
interface ValueTest {
  strict(value: string): boolean;
  folded(value: string): boolean;
}

/** A header's name as RFC 9110 5.1 allows it. */
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const known: ReadonlySet<string> = new Set([
  'name',
  'present',
  'exact',
  'prefix',
  'suffix',
  'contains',
  'regex',
  'invert',
  'ignoreCase',
]);

/**
 * Compiles a header condition. The readings of a header are each line, each part between commas, and all lines joined; under its name and under the
 * names that differ in `-` and `_`; as written and without regard to case. A deny matches if any does, an allow if all do.
 *
 * A value with bytes outside of visible ASCII, space and tab is never interpreted: it matches every deny and no allow (Envoy's CVE-2026-73552).
 * `Invert` on an absent header: a deny matches, an allow does not, but for an inverted `Present` (Envoy agrees on the allow).
 * @throws SyntaxError when the condition is not exactly one matcher, names no header, can never match, or its pattern is none
 */
export function compileHeaderRule(match: HeaderMatch): HeaderRule {
  for (const key of Object.keys(match)) if (!known.has(key)) throw new SyntaxError(`unknown field ${key}`);
  if (!token.test(match.name)) throw new SyntaxError('the name of the header is not one');
  const name = match.name.toLowerCase();
  const invert = match.invert === true;
  const tests = compileTests(match);
  return tests === undefined ? presenceRule(name, invert) : valueRule(name, invert, tests);
}

function presenceRule(name: string, invert: boolean): HeaderRule {
  const isNamed = (request: HeaderSource) => request.headerValues(name).length > 0;
  const isThere = (request: HeaderSource) => isNamed(request) || request.headerLookalikes(name).length > 0;
  return invert
    ? { permits: (request) => !isThere(request), forbids: (request) => !isNamed(request) }
    : { permits: isNamed, forbids: isThere };
}

/** A test for lines and parts, and one for all lines joined with the spaces around commas gone; `parts` false: the rule itself speaks of commas. */
interface RuleTests {
  readonly line: ValueTest;
  readonly joined: ValueTest;
  readonly parts: boolean;
}

function valueRule(name: string, invert: boolean, { line, joined, parts }: RuleTests): HeaderRule {
  const forbidsLine = (value: string) =>
    isUnreadable(value) || line.strict(value) !== invert || line.folded(value) !== invert;
  const forbidsJoined = (value: string) => joined.strict(value) !== invert || joined.folded(value) !== invert;
  const failsLine = (value: string) =>
    isUnreadable(value) || line.strict(value) === invert || line.folded(value) === invert;
  const failsJoined = (value: string) => joined.strict(value) === invert || joined.folded(value) === invert;
  return {
    permits: (request) =>
      request.headerValues(name).length > 0 &&
      !readingsOf(request, name).some((lines) => someReading(lines, parts, failsLine, failsJoined)),
    forbids: (request) =>
      (invert && request.headerValues(name).length === 0) ||
      readingsOf(request, name).some((lines) => someReading(lines, parts, forbidsLine, forbidsJoined)),
  };
}

/** Whether a test is true of any reading of the lines of one name. */
function someReading(
  lines: readonly string[],
  parts: boolean,
  testLine: (value: string) => boolean,
  testJoined: (value: string) => boolean,
): boolean {
  for (const line of lines) {
    const value = trim(line);
    if (testLine(value)) return true;
    if (parts && value.includes(',')) {
      for (const part of value.split(',')) {
        const item = trim(part);
        // Empty elements of a list are no elements (RFC 9110 5.6.1).
        if (item !== '' && testLine(item)) return true;
      }
    }
  }
  const hasList = lines.length > 1 || (lines[0]?.includes(',') ?? false);
  return hasList && testJoined(withoutListSpace(lines.map(trim).join(',')));
}

function compileTests(match: HeaderMatch): RuleTests | undefined {
  const { exact, prefix, suffix, contains, regex } = match;
  const given = [match.present, exact, prefix, suffix, contains, regex].filter((value) => value !== undefined);
  if (given.length !== 1)
    throw new SyntaxError('not exactly one of Present, Exact, Prefix, Suffix, Contains, or Regex');
  if (match.present !== undefined) {
    if (match.present !== true) throw new SyntaxError('Present can only be true');
    return undefined;
  }
  const ignoreCase = match.ignoreCase === true;
  if (regex !== undefined) {
    const { matches, matchesFolded } = compileRegularExpression(regex);
    const test = { strict: ignoreCase ? matchesFolded : matches, folded: matchesFolded };
    // A comma in a repetition, {1,3}, is none that is matched.
    return { line: test, joined: test, parts: !regex.replace(/\{\d*,\d*\}/g, '').includes(',') };
  }
  const rule = exact ?? prefix ?? suffix ?? contains ?? '';
  if (isUnreadable(rule)) throw new SyntaxError('can never match: values beyond visible ASCII are not interpreted');
  const trimmed = exact === undefined ? rule : trim(rule);
  const compare: (value: string, rule: string) => boolean =
    exact !== undefined
      ? (value, wanted) => value === wanted
      : prefix !== undefined
        ? (value, wanted) => value.startsWith(wanted)
        : suffix !== undefined
          ? (value, wanted) => value.endsWith(wanted)
          : (value, wanted) => value.includes(wanted);
  const line = textTest(trimmed, ignoreCase, compare);
  const parts = !rule.includes(',');
  return { line, joined: parts ? line : textTest(withoutListSpace(trimmed), ignoreCase, compare), parts };
}

function textTest(rule: string, ignoreCase: boolean, compare: (value: string, rule: string) => boolean): ValueTest {
  const lower = rule.toLowerCase();
  const folded = (value: string) => compare(value.toLowerCase(), lower);
  return { strict: ignoreCase ? folded : (value) => compare(value, rule), folded };
}

/** What may be taken for the lines of that name: its own; those of each name that looks alike; all of these together. */
function readingsOf(request: HeaderSource, name: string): readonly (readonly string[])[] {
  const own = request.headerValues(name);
  const alike = request.headerLookalikes(name);
  if (alike.length === 0) return [own];
  const byName = Map.groupBy(alike, ([spelling]) => spelling);
  return [...byName.values(), alike].map((lines) => lines.map(([, value]) => value));
}

function isUnreadable(value: string): boolean {
  return /[^\t\x20-\x7e]/.test(value);
}

/** Optional white space of RFC 9110 5.6.3 is no part of a value. */
function trim(value: string): string {
  return value.replace(/^[\t ]+|[\t ]+$/g, '');
}

function withoutListSpace(value: string): string {
  return value.replace(/[\t ]*,[\t ]*/g, ',');
}
