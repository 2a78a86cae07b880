import type { HeaderSource } from '../header-rule.ts';
import { compileRegularExpression } from '../regular-expression.ts';
import type { FeedRouteMatch } from '../wire/feed-routing.ts';

/** What a route looks at. */
export interface RoutedRequest extends Pick<HeaderSource, 'headerValues'> {
  readonly method: string;
  /** Canonical (policies/canonical-request.ts), or `*`. */
  readonly path: string;
  /** '' or from the `?` on, as it came. */
  readonly query: string;
}

/** Whether a request is one that the route is for. */
export type RouteTest = (request: RoutedRequest) => boolean;

/**
 * Compiles what a route asks of a request. Unlike an intention's, a route's condition has one reading: it chooses between places that may all be called, and
 * the proxy of the place chosen judges the request that arrives. Prefixes are of characters, as Consul's: `/v1` is one of `/v1x`.
 *
 * @throws SyntaxError when a pattern is none of RE2's
 */
export function compileRouteMatch(match: FeedRouteMatch | undefined): RouteTest {
  const tests = match === undefined ? [] : testsOf(match);
  const [first, second] = tests;
  if (first === undefined) return () => true;
  if (second === undefined) return first;
  return (request) => tests.every((test) => test(request));
}

/** What costs least comes first. */
function testsOf(match: FeedRouteMatch): RouteTest[] {
  const { methods, headers = [], queryParameters = [] } = match;
  const path = pathTest(match);
  return [
    ...(methods === undefined ? [] : [(request: RoutedRequest) => methods.includes(request.method)]),
    ...(path === undefined ? [] : [(request: RoutedRequest) => path(request.path)]),
    ...headers.map((header): RouteTest => {
      const { name, present = false, invert = false } = header;
      const test = valueTest(header);
      const lowerCaseName = name.toLowerCase();
      return (request) => {
        const lines = request.headerValues(lowerCaseName);
        // Envoy: of a header that is not there, no value is another than this one.
        return lines.length === 0 ? present && invert : test(lines.join(',')) !== invert;
      };
    }),
    ...queryParameters.map((parameter): RouteTest => {
      const test = valueTest(parameter);
      return (request) => {
        const value = queryParameter(request.query, parameter.name);
        return value !== undefined && test(value);
      };
    }),
  ];
}

function pathTest(match: FeedRouteMatch): ((path: string) => boolean) | undefined {
  const { pathExact, pathPrefix, pathRegex, caseInsensitive = false } = match;
  if (pathRegex !== undefined) {
    const pattern = compileRegularExpression(pathRegex);
    return caseInsensitive ? pattern.matchesFolded : pattern.matches;
  }
  const wanted = caseInsensitive ? (pathExact ?? pathPrefix)?.toLowerCase() : (pathExact ?? pathPrefix);
  if (wanted === undefined) return undefined;
  const test = pathExact === undefined ? (path: string) => path.startsWith(wanted) : (path: string) => path === wanted;
  return caseInsensitive ? (path) => test(path.toLowerCase()) : test;
}

interface ValueMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly suffix?: string;
  readonly regex?: string;
}

function valueTest({ exact, prefix, suffix, regex }: ValueMatch): (value: string) => boolean {
  if (exact !== undefined) return (value) => value === exact;
  if (prefix !== undefined) return (value) => value.startsWith(prefix);
  if (suffix !== undefined) return (value) => value.endsWith(suffix);
  return regex === undefined ? () => true : compileRegularExpression(regex).matches;
}

/** The first value of a parameter, escapes decoded where they can be. @param query from the `?` on, or '' */
export function queryParameter(query: string, name: string): string | undefined {
  for (let from = 1; from < query.length; ) {
    const ampersand = query.indexOf('&', from);
    const end = ampersand < 0 ? query.length : ampersand;
    const pair = query.slice(from, end);
    const equals = pair.indexOf('=');
    if (decoded(equals < 0 ? pair : pair.slice(0, equals)) === name)
      return equals < 0 ? '' : decoded(pair.slice(equals + 1));
    from = end + 1;
  }
  return undefined;
}

function decoded(text: string): string {
  if (!/[%+]/.test(text)) return text;
  const spaced = text.replaceAll('+', ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced; // no escapes of UTF-8: compared as it came
  }
}
