import type { ServiceProtocol } from '#policies/intention.ts';
import { defaultResiliencePolicy, type ResiliencePolicy } from '#policies/resilience.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import type { FeedEndpoint } from '#policies/wire/feed.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import { backoffMs } from '../resilience/backoff.ts';
import { Balancer } from '../resilience/balancer.ts';
import { Breaker, type BreakerState, type BreakerTicket } from '../resilience/breaker.ts';
import { Bulkhead } from '../resilience/bulkhead.ts';
import { OutlierDetector } from '../resilience/outlier.ts';
import { RetryBudget } from '../resilience/retry-budget.ts';
import { decideRetry, type RetryQuestion } from '../resilience/retry-decision.ts';
import type { EdgeTraffic } from '../traffic.ts';
import type { UpstreamView } from '../view/service-view.ts';
import { endpointDialer } from './dial.ts';
import { Endpoint } from './endpoint.ts';
import { endpointFlaw } from './endpoint-flaw.ts';
import { EndpointTunnels } from './endpoint-tunnels.ts';

/** What came of asking for an endpoint. `open`: there are some, but their breakers let nothing through. */
export type EndpointChoice =
  | { readonly kind: 'endpoint'; readonly endpoint: Endpoint; readonly ticket: BreakerTicket }
  | { readonly kind: 'none' }
  | { readonly kind: 'open' };

/** What one upstream of a local service needs of the world. */
export interface UpstreamOptions {
  readonly name: string;
  /** The local service that calls. */
  readonly service: string;
  readonly svid: SvidSource;
  readonly identity: MeshIdentity;
  readonly process: ProcessContext;
  readonly edge: EdgeTraffic;
  onBreakerChange(upstream: string, endpoint: string, state: BreakerState): void;
}

/**
 * One upstream as one local service sees it: its endpoints with tunnels and breakers, and the policy by which they are called. The policy and the endpoints
 * change live; what is under way goes on.
 */
export class Upstream {
  readonly name: string;
  readonly edge: EdgeTraffic;
  policy: ResiliencePolicy = defaultResiliencePolicy;
  /** tcp until the catalog says otherwise: bytes pass, nothing is read into them. */
  protocol: ServiceProtocol = 'tcp';
  endpoints: readonly Endpoint[] = [];
  readonly #options: UpstreamOptions;
  readonly #balancer: Balancer<Endpoint>;
  readonly #outlier: OutlierDetector;
  readonly #budget: RetryBudget;
  readonly #bulkhead: Bulkhead;
  readonly #failureStatuses = new Uint8Array(600);

  constructor(options: UpstreamOptions) {
    const { clock, random } = options.process;
    this.name = options.name;
    this.edge = options.edge;
    this.#options = options;
    this.#outlier = new OutlierDetector(this.policy.outlier, clock);
    this.#balancer = new Balancer<Endpoint>(this.policy.balancer, random, (id) => this.#outlier.isEjected(id));
    this.#budget = new RetryBudget(this.policy.retries, clock);
    this.#bulkhead = new Bulkhead(this.policy.maxConcurrent);
    this.#setFailureStatuses();
  }

  /** The catalog's newest word; undefined: the upstream is not known any more, so it has no endpoints. */
  update(view: UpstreamView | undefined): void {
    this.#updatePolicy(view?.resilience ?? this.policy);
    this.protocol = view?.protocol ?? this.protocol;
    const before = new Map(this.endpoints.map((endpoint) => [endpoint.id, endpoint]));
    const next: Endpoint[] = [];
    for (const entry of view?.endpoints ?? []) {
      const flaw = endpointFlaw(entry, this.name, this.#options.identity.trustDomain);
      if (flaw !== undefined) {
        this.#options.process.log.error(
          { upstream: this.name, endpoint: entry.id, flaw },
          'instance of the catalog not called',
        );
        continue;
      }
      const known = before.get(entry.id);
      if (known?.isAt(entry) === true) {
        before.delete(entry.id);
        known.status = entry.status;
        known.weight = entry.weight;
        next.push(known);
      } else {
        next.push(this.#makeEndpoint(entry));
      }
    }
    this.endpoints = next;
    this.#outlier.setEndpoints(next.map(({ id }) => id));
    this.#balancer.setEndpoints(next);
    for (const gone of before.values()) gone.close();
  }

  now(): number {
    return this.#options.process.clock();
  }

  /** Begins a call. @returns false: the bulkhead is full; true: `leave` must follow, once */
  enter(): boolean {
    if (!this.#bulkhead.enter()) return false;
    this.#budget.noteRequest();
    return true;
  }

  leave(): void {
    this.#bulkhead.leave();
  }

  /** Calls, or TCP connections, under way. */
  get inFlight(): number {
    return this.#bulkhead.inFlight;
  }

  /** The endpoint for the next try, with its breaker's leave. Those tried before come again only when there is no other. */
  choose(tried: readonly Endpoint[] | undefined): EndpointChoice {
    return (
      this.#choose(tried) ??
      (tried === undefined ? undefined : this.#choose(undefined)) ?? {
        kind: this.endpoints.length === 0 ? 'none' : 'open',
      }
    );
  }

  /** Whether a failed try may go again; a yes is paid for out of the retry budget. */
  mayRetry(question: RetryQuestion): boolean {
    if (decideRetry(this.policy.retries, question) !== 'retry') return false;
    if (!this.#budget.take()) return false;
    this.edge.retries.value += 1;
    return true;
  }

  /** How long to wait before the next try, ms. */
  backoff(attempt: number): number {
    return backoffMs(this.policy.retries, attempt, this.#options.process.random);
  }

  /** An outcome, for outlier ejection. */
  note(endpoint: Endpoint, success: boolean): void {
    this.#outlier.note(endpoint.id, success);
  }

  /** Whether an answer's status counts as the endpoint's failure. */
  isFailure(status: number): boolean {
    return this.#failureStatuses[status] === 1;
  }

  /** Lets go of breakers that hold nothing: made again at the next call. */
  shedIdleBreakers(): void {
    for (const { breaker } of this.endpoints) if (breaker.idle) breaker.dispose();
  }

  close(): void {
    for (const endpoint of this.endpoints) endpoint.close();
    this.endpoints = [];
  }

  #choose(excluded: readonly Endpoint[] | undefined): EndpointChoice | undefined {
    let out = excluded;
    for (;;) {
      const endpoint = this.#balancer.pick(out);
      if (endpoint === undefined) return undefined;
      const ticket = endpoint.breaker.admit(this.policy.perTryTimeoutMs + this.policy.connectTimeoutMs);
      if (ticket !== 'open') return { kind: 'endpoint', endpoint, ticket };
      out = out === undefined ? [endpoint] : [...out, endpoint];
    }
  }

  #updatePolicy(policy: ResiliencePolicy): void {
    this.policy = policy;
    this.#outlier.update(policy.outlier);
    this.#balancer.update(policy.balancer);
    this.#budget.update(policy.retries);
    this.#bulkhead.update(policy.maxConcurrent);
    this.#setFailureStatuses();
    for (const endpoint of this.endpoints) endpoint.breaker.update(policy.breaker);
  }

  #setFailureStatuses(): void {
    this.#failureStatuses.fill(0);
    for (const status of this.policy.breaker.failureStatuses) this.#failureStatuses[status] = 1;
  }

  #makeEndpoint(entry: FeedEndpoint): Endpoint {
    const { svid, identity, process, onBreakerChange } = this.#options;
    const breaker = new Breaker({
      policy: this.policy.breaker,
      clock: process.clock,
      onStateChange: (state) => onBreakerChange(this.name, entry.id, state),
    });
    const endpoint: Endpoint = new Endpoint(
      entry,
      (onRetire) =>
        new EndpointTunnels({
          authority: `${this.name}.${identity.datacenter}.${identity.trustDomain}:${entry.port}`,
          dial: endpointDialer({
            target: { host: entry.address, port: entry.port, expect: parseSpiffeId(entry.spiffeId) },
            svid,
            trust: identity.trust,
            process,
            onVerified: (peer) => {
              endpoint.verified = peer.spiffeId;
            },
          }),
          clock: process.clock,
          log: process.log,
          onRetire,
        }),
      breaker,
    );
    return endpoint;
  }
}
