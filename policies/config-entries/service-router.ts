import { z } from 'zod';
import { canonicaliseTarget } from '../canonical-request.ts';
import { compileRegularExpression } from '../regular-expression.ts';
import {
  count,
  defaultOnly,
  durationText,
  entryFields,
  entryObject,
  flag,
  invalidEntry,
  judgeServiceEntry,
  listOf,
  text,
} from './entry-object.ts';
import { headerModifiersSchema, judgeHeaderModifiers } from './header-modifiers.ts';

const httpSchema = entryObject({
  PathExact: text,
  PathPrefix: text,
  PathRegex: text,
  CaseInsensitive: flag,
  Header: listOf(
    entryObject({
      Name: z.string().max(256).default(''),
      Present: flag,
      Exact: text,
      Prefix: text,
      Suffix: text,
      Regex: text,
      Invert: flag,
    }),
    64,
  ),
  QueryParam: listOf(
    entryObject({ Name: z.string().max(256).default(''), Present: flag, Exact: text, Regex: text }),
    64,
  ),
  Methods: listOf(
    z
      .string()
      .max(32)
      .transform((method) => method.toUpperCase()),
    32,
  ),
});
type HttpMatch = z.output<typeof httpSchema>;

const destinationSchema = entryObject({
  Service: text,
  ServiceSubset: text,
  Namespace: defaultOnly,
  Partition: defaultOnly,
  PrefixRewrite: text,
  RequestTimeout: durationText,
  IdleTimeout: durationText,
  NumRetries: count,
  RetryOnConnectFailure: flag,
  RetryOn: listOf(z.string().max(64), 64),
  RetryOnStatusCodes: listOf(z.int().min(0), 512),
  RequestHeaders: headerModifiersSchema.exactOptional(),
  ResponseHeaders: headerModifiersSchema.exactOptional(),
});

/** Which requests to a service go elsewhere; the first route that matches decides. HTTP only. */
export const serviceRouterSchema = entryObject({
  ...entryFields('service-router'),
  Name: z.string().max(256).default(''),
  Routes: z
    .array(
      entryObject({
        Match: entryObject({ HTTP: httpSchema.exactOptional() }).exactOptional(),
        Destination: destinationSchema.exactOptional(),
      }),
    )
    .max(256)
    .nullable()
    .default(null),
});
export type ServiceRouter = z.output<typeof serviceRouterSchema>;
export type ServiceRoute = NonNullable<ServiceRouter['Routes']>[number];

const methods: readonly string[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE'];
const retryConditions: readonly string[] = [
  '5xx',
  'gateway-error',
  'reset',
  'connect-failure',
  'envoy-ratelimited',
  'retriable-4xx',
  'refused-stream',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
];

/** @throws ConsulError 400 in Consul's words */
export function judgeServiceRouter(entry: ServiceRouter): void {
  judgeServiceEntry(entry);
  for (const [index, { Match, Destination }] of (entry.Routes ?? []).entries()) {
    const at = `Route[${index}]`;
    const http = Match?.HTTP;
    if (http !== undefined) judgeHttp(at, http);
    const rewritable = http?.PathExact !== undefined || http?.PathPrefix !== undefined;
    if (Destination?.PrefixRewrite !== undefined && !rewritable) {
      throw invalidEntry(`${at} cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix`);
    }
    if (Destination?.PrefixRewrite?.startsWith('/') === false) {
      throw invalidEntry(`${at} PrefixRewrite doesn't start with '/': ${JSON.stringify(Destination.PrefixRewrite)}`);
    }
    // Consul takes any: here every request of the route would be refused for the path that it makes. Whether encoded slashes are taken, the service says.
    const rewrite =
      Destination?.PrefixRewrite === undefined
        ? undefined
        : canonicaliseTarget(Destination.PrefixRewrite, 'KEEP_UNCHANGED');
    if (rewrite !== undefined && !(rewrite.ok && rewrite.path === Destination?.PrefixRewrite)) {
      throw invalidEntry(`${at} PrefixRewrite is not a canonical path: ${JSON.stringify(Destination?.PrefixRewrite)}`);
    }
    judgeHeaderModifiers(`${at} RequestHeaders`, Destination?.RequestHeaders);
    judgeHeaderModifiers(`${at} ResponseHeaders`, Destination?.ResponseHeaders);
    for (const condition of Destination?.RetryOn ?? []) {
      if (!retryConditions.includes(condition))
        throw invalidEntry(`${at} contains an invalid retry condition: ${JSON.stringify(condition)}`);
    }
    if ((Destination?.NumRetries ?? 0) < 0) throw invalidEntry(`${at} NumRetries cannot be negative`);
    for (const field of ['RequestTimeout', 'IdleTimeout'] as const) {
      if (Destination?.[field]?.startsWith('-')) throw invalidEntry(`${at} ${field} cannot be negative`);
    }
  }
}

function judgeHttp(at: string, http: HttpMatch): void {
  for (const field of ['PathExact', 'PathPrefix'] as const) {
    const path = http[field];
    if (path !== undefined && !path.startsWith('/'))
      throw invalidEntry(`${at} ${field} doesn't start with '/': ${JSON.stringify(path)}`);
  }
  if (said(http.PathExact, http.PathPrefix, http.PathRegex) > 1) {
    throw invalidEntry(`${at} should only contain at most one of PathExact, PathPrefix, or PathRegex`);
  }
  judgePattern(`${at} PathRegex`, http.PathRegex);
  for (const [index, header] of (http.Header ?? []).entries()) {
    const place = `${at} Header[${index}]`;
    if (header.Name === '') throw invalidEntry(`${place} missing required Name field`);
    if (said(header.Present, header.Exact, header.Regex, header.Prefix, header.Suffix) !== 1)
      throw invalidEntry(`${place} should only contain one of Present, Exact, Prefix, Suffix, or Regex`);
    judgePattern(`${place} Regex`, header.Regex);
  }
  for (const [index, parameter] of (http.QueryParam ?? []).entries()) {
    const place = `${at} QueryParam[${index}]`;
    if (parameter.Name === '') throw invalidEntry(`${place} missing required Name field`);
    if (said(parameter.Present, parameter.Exact, parameter.Regex) !== 1)
      throw invalidEntry(`${place} should only contain one of Present, Exact, or Regex`);
    judgePattern(`${place} Regex`, parameter.Regex);
  }
  for (const [index, method] of (http.Methods ?? []).entries()) {
    if (!methods.includes(method))
      throw invalidEntry(`${at} Methods contains an invalid method ${JSON.stringify(method)}`);
    if ((http.Methods ?? []).indexOf(method) < index)
      throw invalidEntry(`${at} Methods contains ${JSON.stringify(method)} more than once`);
  }
}

/** Stricter than Consul, where a pattern that is none breaks the proxies instead. */
function judgePattern(place: string, pattern: string | undefined): void {
  if (pattern === undefined) return;
  try {
    compileRegularExpression(pattern);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalidEntry(`${place} is not a valid pattern: ${error.message}`);
  }
}

function said(...parts: readonly unknown[]): number {
  return parts.filter((part) => part !== undefined).length;
}
