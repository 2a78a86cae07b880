import { type CanonicalTarget, canonicaliseTarget } from '../canonical-request.ts';
import type { FeedRouteMatch } from '../wire/feed-routing.ts';

/**
 * What a route makes of a path that it matched: its exact path or its prefix gives way to `rewrite`. The result is brought to its canonical form like any other
 * target: it is what the other side judges.
 */
export function rewritePrefix(
  path: string,
  query: string,
  match: Pick<FeedRouteMatch, 'pathExact' | 'pathPrefix'>,
  rewrite: string,
): CanonicalTarget {
  const rest = match.pathPrefix === undefined ? '' : path.slice(match.pathPrefix.length);
  return canonicaliseTarget(`${rewrite}${rest}${query}`);
}
