import { type CanonicalTarget, canonicaliseTarget } from '../canonical-request.ts';
import { strictNormalization } from '../request-normalization.ts';
import type { FeedRouteMatch } from '../wire/feed-routing.ts';

/**
 * What a route makes of a path that it matched: its exact path or its prefix gives way to `rewrite`. The result is brought to its canonical form like any other
 * target, with what the upstream says of encoded slashes: it is what the other side judges.
 */
export function rewritePrefix(
  path: string,
  query: string,
  match: Pick<FeedRouteMatch, 'pathExact' | 'pathPrefix'>,
  rewrite: string,
  { escapedSlashes } = strictNormalization,
): CanonicalTarget {
  const rest = match.pathPrefix === undefined ? '' : path.slice(match.pathPrefix.length);
  return canonicaliseTarget(`${rewrite}${rest}${query}`, escapedSlashes);
}
