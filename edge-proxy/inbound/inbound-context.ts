import type { Verdict } from '#policies/intention-decision.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { RecentCalls } from '../calls/recent-calls.ts';
import { pushHeader } from '../http1/head-encoder.ts';
import type { LinkedSet } from '../linked-set.ts';
import type { InstanceLimiter } from '../resilience/instance-limiter.ts';
import type { RequestLimiter } from '../resilience/request-limiter.ts';
import type { Drainable, ServingContext } from '../server-stream.ts';
import type { Traffic } from '../traffic.ts';
import type { ServiceView } from '../view/service-view.ts';
import type { LocalApplication } from './application.ts';
import type { LiveStreams } from './live-streams.ts';

/** What all streams into one local service share. */
export interface InboundContext extends ServingContext {
  readonly serving: LinkedSet<Drainable>;
  readonly view: ServiceView;
  readonly application: LocalApplication;
  readonly traffic: Traffic;
  readonly live: LiveStreams;
  /** What is told to the catalog of who called. */
  readonly calls: RecentCalls;
  /** What each caller may ask of the local service. */
  readonly limiter: RequestLimiter;
  /** What this instance of it takes of all callers together. */
  readonly instanceLimiter: InstanceLimiter;
  /** No byte either way for this long ends a stream, ms. */
  readonly idleTimeoutMs: number;
  /** The verdict where no intentions are known: deny. */
  readonly nothingKnown: Verdict;
  /** Who calls, as headers (name, value, …) that the application gets; what the caller claimed has been stripped. */
  identityOf(peer: SpiffeId): readonly string[];
}

/** Header with the caller's SPIFFE ID, set by the inbound proxy only. */
export const sourceHeader = 'Selvedge-Source';

/**
 * `Selvedge-Source` and Envoy's `x-forwarded-client-cert` in its By and URI form.
 *
 * @param own SPIFFE ID of the local service
 */
export function identityHeaders(own: SpiffeId): InboundContext['identityOf'] {
  let last: { readonly peer: SpiffeId; readonly headers: readonly string[] } | undefined;
  return (peer) => {
    if (last?.peer === peer) return last.headers;
    const headers: string[] = [];
    pushHeader(headers, sourceHeader, peer);
    pushHeader(headers, 'X-Forwarded-Client-Cert', `By=${own};URI=${peer}`);
    last = { peer, headers };
    return headers;
  };
}
