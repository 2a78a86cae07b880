import type { z } from 'zod';
import { compileRegularExpression } from '../regular-expression.ts';
import type { RequestLimitPolicy } from '../resilience.ts';
import type { FeedInstanceLimits } from '../wire/feed.ts';
import { invalidEntry } from './entry-object.ts';
import type { rateLimitsSchema, ServiceDefaults } from './service-defaults.ts';

type RateLimits = z.output<typeof rateLimitsSchema>;
type Rate = Pick<RateLimits['InstanceLevel'], 'RequestsPerSecond' | 'RequestsMaxBurst'>;
type Route = NonNullable<RateLimits['InstanceLevel']['Routes']>[number];

/** @throws ConsulError 400 */
export function judgeRateLimits({ InstanceLevel }: RateLimits): void {
  judgeRate('RateLimits.InstanceLevel', InstanceLevel);
  for (const [index, route] of (InstanceLevel.Routes ?? []).entries()) {
    const at = `RateLimits.InstanceLevel.Routes[${index}]`;
    const { PathExact, PathPrefix, PathRegex } = route;
    const said = [PathExact, PathPrefix, PathRegex].filter((path) => path !== '');
    if (said.length !== 1) throw invalidEntry(`${at}: exactly one of PathExact, PathPrefix, or PathRegex must be set`);
    if (PathRegex === '' && said[0]?.startsWith('/') !== true) throw invalidEntry(`${at}: a path starts with '/'`);
    if (route.RequestsPerSecond === 0) throw invalidEntry(`${at}: RequestsPerSecond must be greater than 0`);
    judgeRate(at, route);
    if (PathRegex !== '') judgePattern(at, PathRegex);
  }
}

/** What holds for each instance of a service, for all of its callers together; undefined: nothing does. */
export function instanceLimitsOf({ RateLimits: said }: ServiceDefaults): FeedInstanceLimits | undefined {
  if (said === undefined) return undefined;
  const all = limitOf(said.InstanceLevel);
  const routes = (said.InstanceLevel.Routes ?? []).flatMap((route) => {
    const limit = limitOf(route);
    return limit === undefined ? [] : [{ ...matchOf(route), limit }];
  });
  if (all === undefined && routes.length === 0) return undefined;
  return { ...(all === undefined ? {} : { all }), ...(routes.length === 0 ? {} : { routes }) };
}

function limitOf({ RequestsPerSecond: perSecond, RequestsMaxBurst }: Rate): RequestLimitPolicy | undefined {
  if (perSecond === 0) return undefined;
  const burst = RequestsMaxBurst === 0 ? perSecond : RequestsMaxBurst;
  return { perSecond: Math.min(perSecond, mostPerSecond), burst: Math.min(burst, mostPerSecond) };
}

/** As many as a resilience policy may say: more is none that a proxy could hold. */
const mostPerSecond = 1_000_000;

function matchOf({ PathExact, PathPrefix, PathRegex }: Route) {
  if (PathExact !== '') return { pathExact: PathExact };
  return PathPrefix === '' ? { pathRegex: PathRegex } : { pathPrefix: PathPrefix };
}

function judgeRate(at: string, { RequestsPerSecond, RequestsMaxBurst }: Rate): void {
  if (RequestsMaxBurst !== 0 && RequestsMaxBurst < RequestsPerSecond)
    throw invalidEntry(`${at}: RequestsMaxBurst must be greater than or equal to RequestsPerSecond`);
  if (RequestsMaxBurst !== 0 && RequestsPerSecond === 0)
    throw invalidEntry(`${at}: RequestsMaxBurst cannot be set without RequestsPerSecond`);
}

function judgePattern(at: string, pattern: string): void {
  try {
    compileRegularExpression(pattern);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalidEntry(`${at} PathRegex is not a valid pattern: ${error.message}`);
  }
}
