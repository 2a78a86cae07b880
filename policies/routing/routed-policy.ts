import type { ResiliencePolicy } from '../resilience.ts';
import type { FeedRoute } from '../wire/feed-routing.ts';
import { maxRouteAttempts } from './route-retries.ts';

/**
 * A policy with another time for the whole request. A time for each try that had no effect beside the old one (not below it) is the new one: who gives a
 * request a minute does not mean tries of fifteen seconds.
 */
export function withRequestTimeout(policy: ResiliencePolicy, requestTimeoutMs: number): ResiliencePolicy {
  const { perTryTimeoutMs } = policy;
  const perTry = perTryTimeoutMs >= policy.requestTimeoutMs ? requestTimeoutMs : perTryTimeoutMs;
  return { ...policy, requestTimeoutMs, perTryTimeoutMs: Math.min(perTry, requestTimeoutMs) };
}

/** The policy of calls that take a route: what the route says over what holds for its destination. @returns the same object where it says nothing */
export function routedPolicy(policy: ResiliencePolicy, route: FeedRoute): ResiliencePolicy {
  const { requestTimeoutMs, idleTimeoutMs, retries, match } = route;
  let routed = policy;
  if (requestTimeoutMs !== undefined) routed = withRequestTimeout(routed, requestTimeoutMs);
  if (idleTimeoutMs !== undefined) routed = { ...routed, idleTimeoutMs };
  if (retries === undefined) return routed;
  const { attempts = policy.retries.attempts, on = policy.retries.on, statuses } = retries;
  // A route that names POST or PATCH and says what to retry has said that they may be carried out twice.
  const named = retries.on === undefined ? [] : (match?.methods ?? []);
  return {
    ...routed,
    retries: {
      ...policy.retries,
      attempts: Math.min(attempts, maxRouteAttempts),
      on,
      ...(statuses === undefined ? {} : { statuses }),
      retryNonIdempotent: policy.retries.retryNonIdempotent || named.includes('POST') || named.includes('PATCH'),
    },
  };
}
