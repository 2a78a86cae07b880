import type { FeedHashPolicy, FeedRoute, FeedRouting, FeedSplit } from '../wire/feed-routing.ts';
import { compileHeaderEdits, type HeaderEdits } from './header-edits.ts';
import { compileRouteMatch, type RouteTest } from './route-match.ts';

/** One of the ways that a route may end, compiled. */
export interface RouteEnd {
  /** Hundredths of a percent of the route's requests. */
  readonly weight: number;
  /** A name in `destinations`. */
  readonly destination: string;
  readonly requestEdits: HeaderEdits | undefined;
  /** The other way round: what the destination answered passes the split first, the route last. */
  readonly responseEdits: HeaderEdits | undefined;
}

/** A route, compiled: the first whose `matches` is true decides. */
export interface CompiledRoute {
  readonly says: FeedRoute;
  readonly matches: RouteTest;
  /** At least one. */
  readonly ends: readonly RouteEnd[];
}

/**
 * Compiles the routes of a chain, and sees that every name leads somewhere.
 * @throws SyntaxError saying what is wrong where
 */
export function compileRouteTable(routing: FeedRouting): readonly CompiledRoute[] {
  const { routes, splitters, destinations, targets } = routing;
  for (const [name, destination] of Object.entries(destinations)) {
    for (const target of destination.targets) {
      if (!Object.hasOwn(targets, target)) throw new SyntaxError(`destination ${name} names no target: ${target}`);
    }
    const { mirror } = destination;
    if (mirror !== undefined && !Object.hasOwn(destinations, mirror.destination))
      throw new SyntaxError(`the mirror of ${name} is no destination: ${mirror.destination}`);
    const hash =
      destination.loadBalancer !== undefined && 'hash' in destination.loadBalancer ? destination.loadBalancer.hash : [];
    for (const policy of hash) refuseBadCookie(policy);
  }
  if (routes.at(-1)?.match !== undefined) throw new SyntaxError('the last route does not match every request');
  return routes.map((route, at) => {
    const { next, match, requestHeaders, responseHeaders } = route;
    const splits: readonly FeedSplit[] = Object.hasOwn(splitters, next)
      ? (splitters[next] ?? [])
      : [{ weight: 10_000, next }];
    const whole = splits.reduce((sum, { weight }) => sum + weight, 0);
    if (whole !== 10_000) throw new SyntaxError(`the weights of ${next} come to ${whole / 100}, not to 100`);
    try {
      return {
        says: route,
        matches: compileRouteMatch(match),
        ends: splits.map((split) => {
          if (!Object.hasOwn(destinations, split.next)) throw new SyntaxError(`${split.next} is no destination`);
          return {
            weight: split.weight,
            destination: split.next,
            requestEdits: compileHeaderEdits(split.requestHeaders, requestHeaders),
            responseEdits: compileHeaderEdits(split.responseHeaders, responseHeaders),
          };
        }),
      };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new SyntaxError(`route ${at}: ${error.message}`, { cause: error });
    }
  });
}

/** A cookie that proxies make is a header of their own making: it must be one, and no more. */
function refuseBadCookie({ name = '', cookie }: FeedHashPolicy): void {
  if (cookie === undefined) return;
  const sound =
    /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/.test(name) && /^[\x21-\x3a\x3c-\x7e]{0,256}$/.test(cookie.path ?? '');
  if (!sound) throw new SyntaxError(`no cookie can be made of ${JSON.stringify(name)}`);
}
