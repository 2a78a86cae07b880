import type { RequestLimitPolicy } from '../resilience.ts';
import type { FeedInstanceLimits } from '../wire/feed.ts';
import { compileRouteMatch } from './route-match.ts';

/** A limit of one instance for all of its callers together. */
export interface InstanceLimit {
  /** The same for limits that say the same. */
  readonly key: string;
  readonly policy: RequestLimitPolicy;
  /** @param path canonical */
  isFor(path: string): boolean;
}

/**
 * Compiles the limits of an instance: the first that is for a request's path decides, the one for all paths last (Consul: RateLimits.InstanceLevel).
 * @throws SyntaxError when a pattern is none of RE2's
 */
export function compileInstanceLimits({ all, routes = [] }: FeedInstanceLimits): readonly InstanceLimit[] {
  const ofRoutes = routes.map(({ limit, ...match }): InstanceLimit => {
    const matches = compileRouteMatch(match);
    return {
      key: JSON.stringify([match, limit]),
      policy: limit,
      isFor: (path) => matches({ method: '', path, query: '', headerValues: () => [] }),
    };
  });
  return all === undefined ? ofRoutes : [...ofRoutes, { key: JSON.stringify([all]), policy: all, isFor: () => true }];
}
