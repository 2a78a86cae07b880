import type { ServiceRoute } from '../config-entries/service-router.ts';
import { grpcRetryConditions, type RetryCondition } from '../resilience.ts';
import type { FeedRouteRetries } from '../wire/feed-routing.ts';

type Destination = NonNullable<ServiceRoute['Destination']>;

/** Envoy's words for what is tried again, as ours: its `5xx` and `reset` hold a connection that did not come about, too. */
const conditions: Readonly<Record<string, readonly RetryCondition[]>> = {
  '5xx': ['5xx', 'reset', 'connect-failure', 'refused'],
  'gateway-error': ['gateway-error'],
  reset: ['reset', 'connect-failure', 'refused'],
  'connect-failure': ['connect-failure', 'refused'],
  'refused-stream': ['refused'],
  'envoy-ratelimited': ['envoy-ratelimited'],
  ...Object.fromEntries(grpcRetryConditions.map((word) => [word, [word]])),
};

/** Tries beyond the first that a route may ask for: as many as a resilience policy may. */
export const maxRouteAttempts = 10;

/** Whether proxies act on a word of RetryOn. */
export function retriedOn(word: string): boolean {
  return Object.hasOwn(conditions, word) || word === 'retriable-4xx';
}

/**
 * What a route says of retries (Consul: RetryPolicyForDestination). Its conditions take the place of the policy's; NumRetries is one where there are
 * conditions and no number.
 */
export function routeRetriesOf(destination: Destination): FeedRouteRetries | undefined {
  const { NumRetries, RetryOnConnectFailure, RetryOn = [], RetryOnStatusCodes = [] } = destination;
  const words = RetryOnConnectFailure === true ? [...RetryOn, 'connect-failure'] : RetryOn;
  const statuses = RetryOnStatusCodes.filter((status) => status >= 100 && status <= 599);
  if (words.includes('retriable-4xx')) statuses.push(409);
  const conditional = words.length > 0 || statuses.length > 0;
  if (!conditional) return NumRetries === undefined ? undefined : { attempts: NumRetries };
  return {
    attempts: NumRetries ?? 1,
    on: [...new Set(words.flatMap((word) => conditions[word] ?? []))],
    ...(statuses.length === 0 ? {} : { statuses: [...new Set(statuses)] }),
  };
}
