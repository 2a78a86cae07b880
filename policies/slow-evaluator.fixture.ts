import assert from 'node:assert/strict';
import { canonicaliseTarget } from './canonical-request.ts';
import type { HeaderMatch, HttpMatch, Intention, IntentionAction } from './intention.ts';
import { compileRegularExpression } from './regular-expression.ts';
import type { Line, Request } from './requests.fixture.ts';

/** The decision once more, slow and naive: every reading is enumerated. What the evaluator is held against. */

export function slowDecision(
  policy: readonly Intention[],
  defaultAction: IntentionAction,
  request: Request,
  path: string,
): boolean {
  const applies = policy.filter(
    ({ source, destination }) => ['web', '*'].includes(source) && ['db', '*'].includes(destination),
  );
  const guards = applies.filter(({ destination, permissions }) => destination === '*' && permissions !== undefined);
  for (const { permissions = [] } of guards) {
    for (const rule of permissions)
      if (rule.action === 'deny' && slowMatch(rule.http, 'deny', request, path)) return false;
  }
  const [consulted] = applies.filter((item) => !guards.includes(item)).toSorted((a, b) => b.precedence - a.precedence);
  if (consulted === undefined) return defaultAction === 'allow';
  if (consulted.action !== undefined) return consulted.action === 'allow';
  const rule = consulted.permissions?.find((candidate) => slowMatch(candidate.http, candidate.action, request, path));
  return (rule?.action ?? defaultAction) === 'allow';
}

/** deny: any reading; allow: all. */
function slowMatch(http: HttpMatch, said: IntentionAction, request: Request, path: string): boolean {
  const quantify = (outcomes: readonly boolean[]) =>
    said === 'deny' ? outcomes.some(Boolean) : outcomes.every(Boolean);
  const { methods = [], headers = [] } = http;
  const methodReadings = [request.method, ...(said === 'deny' ? [request.method.toUpperCase()] : [])];
  if (methods.length > 0 && !quantify(methodReadings.map((method) => methods.includes(method)))) return false;
  if (hasPath(http) && !quantify(slowPath(http, path))) return false;
  return headers.every((header) => slowHeader(header, said, request.lines));
}

function hasPath({ pathExact, pathPrefix, pathRegex }: HttpMatch): boolean {
  return [pathExact, pathPrefix, pathRegex].some((path) => path !== undefined);
}

type Fold = (path: string, open: boolean) => string;
const identity: Fold = (path) => path;
const decode: Fold = (path) => decodeURIComponent(path);
const withSlashes: Fold = (path) => path.replaceAll('\\', '/');
const combine: Fold = (path, open) =>
  cut(withSlashes(decodeURIComponent(path).normalize('NFKC'), open).split(/[?#]/)[0] ?? '', open);
const slashes: Fold = (path) => path.split('%2F').join('/').split('%5C').join('\\');
const allButSlashes: Fold = (path) =>
  path.split(/(%2F|%5C)/).reduce((out, part, at) => out + (at % 2 === 1 ? part : decodeURIComponent(part)), '');
/** Further spellings of paths with encoded slashes. */
const slashed: readonly Fold[] = [
  slashes,
  (path, open) => withSlashes(slashes(path, open), open),
  (path, open) => cut(withSlashes(slashes(path, open), open), open),
  allButSlashes,
  (path, open) => withSlashes(decode(path, open), open),
  (path, open) => cut(withSlashes(decode(path, open), open), open),
];
const lower: Fold = (path) => path.toLowerCase();

function cut(path: string, open: boolean): string {
  const out: string[] = [];
  const segments = path
    .split('/')
    .slice(1)
    .map((segment) => segment.split(';')[0] ?? '');
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (last && open) out.push(segment);
    else if (segment === '..') {
      assert.ok(out.pop() !== undefined);
    } else if (segment !== '.' && (segment !== '' || last)) out.push(segment);
  }
  return `/${out.join('/')}`;
}

/** Outcome for every reading: four spellings, or ten where slashes are encoded, each as written and in lower case, each with either end. */
function slowPath(http: HttpMatch, path: string): readonly boolean[] {
  const { pathExact, pathPrefix, pathRegex } = http;
  const outcomes: boolean[] = [];
  const spellings = [identity, cut, decode, combine, ...(/%2F|%5C/.test(path) ? slashed : [])];
  for (const spelling of spellings) {
    for (const casing of [identity, lower]) {
      for (const slash of [false, true]) {
        const reading = casing(spelling(path, false), false);
        const fold = (rule: string, open: boolean) => casing(spelling(canonicalOf(rule, open), open), open);
        if (pathExact !== undefined)
          outcomes.push(trimSlash(reading, slash) === trimSlash(fold(pathExact, false), slash));
        if (pathPrefix !== undefined) {
          const closed = slash && !reading.endsWith('/') ? `${reading}/` : reading;
          outcomes.push(closed.startsWith(fold(pathPrefix, true)));
        }
        if (pathRegex !== undefined) {
          const regex = compileRegularExpression(pathRegex);
          const matches = (text: string) => (casing === lower ? regex.matchesFolded(text) : regex.matches(text));
          outcomes.push(matches(reading) || (slash && matches(otherEnd(reading))));
        }
      }
    }
  }
  return outcomes;
}

function canonicalOf(rule: string, open: boolean): string {
  const canonical = canonicaliseTarget(open ? `${rule}x` : rule, 'KEEP_UNCHANGED');
  assert.ok(canonical.ok);
  return open ? canonical.path.slice(0, -1) : canonical.path;
}

function trimSlash(path: string, doTrim: boolean): string {
  return doTrim && path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

function otherEnd(path: string): string {
  return path === '/' ? path : path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
}

function slowHeader(match: HeaderMatch, said: IntentionAction, lines: readonly Line[]): boolean {
  const values = lines.filter(([name]) => name === match.name).map(([, value]) => value.trim());
  const { invert = false, ignoreCase = false } = match;
  if (match.present) return values.length > 0 !== invert;
  if (values.length === 0) return said === 'deny' && invert;
  const rule = match.exact ?? match.prefix ?? match.suffix ?? match.contains ?? match.regex ?? '';
  const speaksOfCommas = rule.includes(',');
  const bare = (text: string) => text.replaceAll(/\s*,\s*/g, ',');
  const readings = new Map<string, string>(values.map((value) => [value, rule]));
  if (!speaksOfCommas)
    for (const part of values.flatMap((value) => value.split(',')))
      if (part.trim() !== '') readings.set(part.trim(), rule);
  const isList = values.length > 1 || values.some((value) => value.includes(','));
  const pairs = [
    ...readings,
    ...(isList ? [[bare(values.join(',')), match.regex === undefined ? bare(rule) : rule] as const] : []),
  ];
  const outcomes = pairs.flatMap(([value, wanted]) =>
    [ignoreCase, true].map((folds) => {
      if (/[^\t -~]/.test(value)) return said === 'deny';
      return compareHeader(match, value, wanted, folds) !== invert;
    }),
  );
  return said === 'deny' ? outcomes.some(Boolean) : outcomes.every(Boolean);
}

function compareHeader(match: HeaderMatch, value: string, wanted: string, folds: boolean): boolean {
  const [a, b] = folds ? [value.toLowerCase(), wanted.toLowerCase()] : [value, wanted];
  if (match.exact !== undefined) return a === b;
  if (match.prefix !== undefined) return a.startsWith(b);
  if (match.suffix !== undefined) return a.endsWith(b);
  if (match.contains !== undefined) return a.includes(b);
  const regex = compileRegularExpression(wanted);
  return folds ? regex.matchesFolded(value) : regex.matches(value);
}
