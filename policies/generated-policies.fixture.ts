import fc from 'fast-check';
import type { HeaderMatch, HttpMatch, Intention, IntentionAction, Permission } from './intention.ts';
import type { RequestNormalization } from './request-normalization.ts';
import { intention, type Request } from './requests.fixture.ts';

/** What policies and requests of property tests are made of. */

/** Paths that are their own folded reading, so that the disguises below lead to them and to nothing else. */
export const plainPaths = ['/', '/admin', '/admin/x', '/orders', '/orders/12', '/public', '/public/a'];
const regexes = ['/orders/[0-9]+', '/.*', '/admin(/x)?', '/[a-z]+', '/[^/]+', '/[^/]+/[^/]+'];
/** Paths of which there are several readings. */
export const oddPaths = ['/Admin', '/a;v=1/b', '/a%40b', '/caf%C3%A9', '/admin/', '/.x', '/a%EF%BC%8Fb', '/a/;x'];
/** And those that only some services take. */
export const slashedPaths = ['/admin%2Fx', '/a%40%2Fb', '/a%5CB', '/public%2F%2fA%3Fb', '/orders%2F12%2f', '/a%2Fb/c'];
const action = fc.constantFrom<IntentionAction>('allow', 'deny');

const headerOf = (values: readonly string[]): fc.Arbitrary<HeaderMatch> =>
  fc
    .record({
      name: fc.constantFrom('x-role', 'x-a'),
      matcher: fc.oneof(
        fc.constant({ present: true as const }),
        fc
          .constantFrom(...values)
          .chain((value) =>
            fc.constantFrom<Omit<HeaderMatch, 'name'>>(
              { exact: value },
              { prefix: value },
              { suffix: value },
              { contains: value },
              { regex: `${value}.*` },
            ),
          ),
      ),
      invert: fc.boolean(),
      ignoreCase: fc.boolean(),
    })
    .map(({ name, matcher, invert, ignoreCase }) => ({
      name,
      ...matcher,
      ...(invert ? { invert } : {}),
      ...(ignoreCase ? { ignoreCase } : {}),
    }));

const httpOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<HttpMatch> =>
  fc
    .record({
      path: fc.oneof(
        fc.constantFrom(...paths).map((path) => ({ pathExact: path })),
        fc.constantFrom(...paths).map((path) => ({ pathPrefix: path })),
        fc.constantFrom(...regexes).map((regex) => ({ pathRegex: regex })),
        fc.constant({}),
      ),
      headers: fc.array(headerOf(values), { maxLength: 2 }),
      methods: fc.uniqueArray(fc.constantFrom('GET', 'POST'), { maxLength: 2 }),
    })
    .map(({ path, headers, methods }) => ({
      ...path,
      ...(headers.length > 0 ? { headers } : {}),
      ...(methods.length > 0 ? { methods } : {}),
    }))
    .filter((http) => Object.keys(http).length > 0);

/** A rule made of these paths and header values. */
export const permissionOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<Permission> =>
  fc.record({ action, http: httpOf(paths, values) });

/** An intention that may be about `web -> db` or not. */
export const intentionOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<Intention> =>
  fc
    .record({
      source: fc.constantFrom('web', '*', 'api'),
      destination: fc.constantFrom('db', 'db', '*', 'cache'),
      rule: fc.oneof(
        action.map((said) => ({ action: said })),
        fc.array(permissionOf(paths, values), { minLength: 1, maxLength: 4 }).map((permissions) => ({ permissions })),
      ),
    })
    .map(({ source, destination, rule }) => intention(source, destination, rule));

/** Intentions of different pairs. */
export const policyOf = (paths: readonly string[], values: readonly string[]) =>
  fc.uniqueArray(intentionOf(paths, values), {
    maxLength: 6,
    selector: ({ source, destination }) => `${source} ${destination}`,
  });

/** A request made of these targets and header values. */
export const requestOf = (paths: readonly string[], values: readonly string[]): fc.Arbitrary<Request> =>
  fc.record({
    method: fc.constantFrom('GET', 'POST', 'DELETE', 'get'),
    target: fc.constantFrom(...paths),
    lines: fc.array(fc.tuple(fc.constantFrom('x-role', 'x-a'), fc.constantFrom(...values)), { maxLength: 3 }),
  });

/** Header values of one reading. */
export const plainValues = ['admin', 'user'];
/** And those of several. */
export const oddValues = [...plainValues, 'Admin', 'user,admin', 'user, admin', '', 'us\u00e9r'];
/** Targets that ask for one of the paths, in disguise or not, and others. */
export const allPaths = [
  ...plainPaths,
  ...oddPaths,
  '/ADMIN',
  '/admin;v',
  '/x/%E2%80%A5/admin',
  '/a/b',
  '/A;V=2/b',
  '/a%2540',
];
/** All that a service may say of requests. */
export const allNormalizations: readonly RequestNormalization[] = (
  ['REJECT_REQUEST', 'KEEP_UNCHANGED', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD'] as const
).flatMap((escapedSlashes) =>
  (['REJECT_REQUEST', 'DROP_HEADER', 'ALLOW'] as const).map((underscores) => ({ escapedSlashes, underscores })),
);
/** What is done without an intention. */
export const defaults = fc.constantFrom<IntentionAction>('allow', 'deny');
