import { z } from 'zod';
import { consulObject, invalidIntention } from './consul-object.ts';
import { compileHeaderRule } from './header-rule.ts';
import type { HeaderMatch, HttpMatch, Permission } from './intention.ts';
import { consulJwtSchema, formatJwtRequirement, parseJwtRequirement } from './jwt-form.ts';
import { canonicalRulePath, canonicalRulePrefix } from './path-rule.ts';
import { compileRegularExpression } from './regular-expression.ts';

/** Most permissions in one intention, and headers in one permission. */
export const maxPermissions = 128;
const maxHeaders = 32;
/** Longest text in characters. */
const text = z.string().max(1_024);

const headerSchema = consulObject({
  Name: text.exactOptional(),
  Present: z.boolean().exactOptional(),
  Exact: text.exactOptional(),
  Prefix: text.exactOptional(),
  Suffix: text.exactOptional(),
  Contains: text.exactOptional(),
  Regex: text.exactOptional(),
  Invert: z.boolean().exactOptional(),
  IgnoreCase: z.boolean().exactOptional(),
});

const httpSchema = consulObject({
  PathExact: text.exactOptional(),
  PathPrefix: text.exactOptional(),
  PathRegex: text.exactOptional(),
  Header: z.array(headerSchema).max(maxHeaders).exactOptional(),
  Methods: z.array(text).max(maxHeaders).exactOptional(),
});

/** Consul's `Permissions[]`, shapes only; what the fields say is judged by parsePermissions. */
export const permissionsSchema = z
  .array(
    consulObject({
      Action: text.exactOptional(),
      HTTP: httpSchema.exactOptional(),
      JWT: consulJwtSchema.exactOptional(),
    }),
  )
  .max(maxPermissions);

type ConsulPermissions = z.output<typeof permissionsSchema>;
type ConsulHttp = z.output<typeof httpSchema>;
type ConsulHeader = z.output<typeof headerSchema>;

/** Go's net/http methods, the ones that Consul accepts. */
const knownMethods: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
]);

/**
 * Judges permissions as Consul's validate() does, in its words (agent/structs/config_entry_intentions.go); empty text and false are absent, as in Go.
 * Beyond Consul: patterns are compiled here, and a rule that could never match is refused, because a deny that never matches is an open door.
 * @param place `Sources[0].`
 * @throws MeshError SLV-5004
 */
export function parsePermissions(permissions: ConsulPermissions, place: string): readonly Permission[] {
  return permissions.map((permission, index) => {
    const at = `${place}Permissions[${index}]`;
    const action = permission.Action;
    if (action !== 'allow' && action !== 'deny') {
      throw invalidIntention(`${at}.Action must be set to 'allow' or 'deny'`);
    }
    if (permission.HTTP === undefined) throw invalidIntention(`${at}.HTTP is required`);
    const http = parseHttp(permission.HTTP, `${at}.HTTP`);
    if (permission.JWT === undefined) return { action, http };
    return { action, http, jwt: parseJwtRequirement(permission.JWT, `${at}.JWT`) };
  });
}

function parseHttp(http: ConsulHttp, at: string): HttpMatch {
  const path = parsePath(http, at);
  const headers = (http.Header ?? []).map((header, index) => parseHeader(header, `${at}.Header[${index}]`));
  const methods = (http.Methods ?? []).map((method) => method.toUpperCase());
  for (const [index, method] of methods.entries()) {
    if (!knownMethods.has(method))
      throw invalidIntention(`${at}.Methods contains an invalid method ${JSON.stringify(method)}`);
    if (methods.indexOf(method) < index)
      throw invalidIntention(`${at}.Methods contains ${JSON.stringify(method)} more than once`);
  }
  if (Object.keys(path).length === 0 && headers.length === 0 && methods.length === 0) {
    throw invalidIntention(`${at} should not be empty`);
  }
  return { ...path, ...(headers.length > 0 ? { headers } : {}), ...(methods.length > 0 ? { methods } : {}) };
}

function parsePath(http: ConsulHttp, at: string): Pick<HttpMatch, 'pathExact' | 'pathPrefix' | 'pathRegex'> {
  const { PathExact = '', PathPrefix = '', PathRegex = '' } = http;
  for (const [name, path] of [
    ['PathExact', PathExact],
    ['PathPrefix', PathPrefix],
  ] as const) {
    if (path !== '' && !path.startsWith('/')) {
      throw invalidIntention(`${at}.${name} doesn't start with '/': ${JSON.stringify(path)}`);
    }
  }
  if ([PathExact, PathPrefix, PathRegex].filter((path) => path !== '').length > 1) {
    throw invalidIntention(`${at} should only contain at most one of PathExact, PathPrefix, or PathRegex`);
  }
  if (PathExact !== '') {
    check(`${at}.PathExact`, () => canonicalRulePath(PathExact));
    return { pathExact: PathExact };
  }
  if (PathPrefix !== '') {
    check(`${at}.PathPrefix`, () => canonicalRulePrefix(PathPrefix));
    return { pathPrefix: PathPrefix };
  }
  if (PathRegex === '') return {};
  check(`${at}.PathRegex`, () => compileRegularExpression(PathRegex));
  return { pathRegex: PathRegex };
}

function parseHeader(header: ConsulHeader, at: string): HeaderMatch {
  const { Name: name = '', Present, Exact = '', Prefix = '', Suffix = '', Contains = '', Regex = '' } = header;
  if (name === '') throw invalidIntention(`${at} missing required Name field`);
  const matchers = {
    ...(Present === true ? { present: true as const } : {}),
    ...(Exact === '' ? {} : { exact: Exact }),
    ...(Prefix === '' ? {} : { prefix: Prefix }),
    ...(Suffix === '' ? {} : { suffix: Suffix }),
    ...(Contains === '' ? {} : { contains: Contains }),
    ...(Regex === '' ? {} : { regex: Regex }),
  };
  if (Object.keys(matchers).length !== 1) {
    throw invalidIntention(`${at} should only contain one of Present, Exact, Prefix, Suffix, Contains, or Regex`);
  }
  if (header.IgnoreCase === true && (Present === true || Regex !== '')) {
    throw invalidIntention(`${at} should set one of Exact, Prefix, Suffix, or Contains when using IgnoreCase`);
  }
  const match: HeaderMatch = {
    name,
    ...matchers,
    ...(header.Invert === true ? { invert: true } : {}),
    ...(header.IgnoreCase === true ? { ignoreCase: true } : {}),
  };
  check(at, () => compileHeaderRule(match));
  return match;
}

/** Runs a compiler of rules for its SyntaxError. */
function check(at: string, compile: () => unknown): void {
  try {
    compile();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalidIntention(`${at}: ${error.message}`);
  }
}

/** Permissions as Consul's JSON. */
export function formatPermissions(permissions: readonly Permission[]): readonly object[] {
  return permissions.map(({ action, http, jwt }) => ({
    Action: action,
    HTTP: {
      ...(http.pathExact === undefined ? {} : { PathExact: http.pathExact }),
      ...(http.pathPrefix === undefined ? {} : { PathPrefix: http.pathPrefix }),
      ...(http.pathRegex === undefined ? {} : { PathRegex: http.pathRegex }),
      ...(http.headers === undefined ? {} : { Header: http.headers.map(formatHeader) }),
      ...(http.methods === undefined ? {} : { Methods: http.methods }),
    },
    ...(jwt === undefined ? {} : { JWT: formatJwtRequirement(jwt) }),
  }));
}

function formatHeader(match: HeaderMatch): object {
  return {
    Name: match.name,
    ...(match.present === undefined ? {} : { Present: match.present }),
    ...(match.exact === undefined ? {} : { Exact: match.exact }),
    ...(match.prefix === undefined ? {} : { Prefix: match.prefix }),
    ...(match.suffix === undefined ? {} : { Suffix: match.suffix }),
    ...(match.contains === undefined ? {} : { Contains: match.contains }),
    ...(match.regex === undefined ? {} : { Regex: match.regex }),
    ...(match.invert === true ? { Invert: true } : {}),
    ...(match.ignoreCase === true ? { IgnoreCase: true } : {}),
  };
}
