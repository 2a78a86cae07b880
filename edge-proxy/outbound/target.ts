import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { FeedLoadBalancer } from '#policies/wire/feed-routing.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { Balancer } from '../resilience/balancer.ts';
import type { Breaker, BreakerTicket } from '../resilience/breaker.ts';
import { OutlierDetector } from '../resilience/outlier.ts';
import type { CallsOfTarget } from './calls-of-targets.ts';
import type { Endpoint } from './endpoint.ts';

/** Instances of one service that stand in for one another, as one upstream calls them: which of them is called, and which are left out for a while. */
export class Target {
  policy: ResiliencePolicy;
  /** Shared by all upstreams that lead here. */
  readonly calls: CallsOfTarget;
  #breakers: ReadonlyMap<Endpoint, Breaker> = new Map();
  readonly #balancer: Balancer<Endpoint>;
  readonly #outlier: OutlierDetector;

  /** `close` must follow. */
  constructor(policy: ResiliencePolicy, calls: CallsOfTarget, { clock, random }: ProcessContext) {
    this.policy = policy;
    this.calls = calls;
    this.#outlier = new OutlierDetector(policy.outlier, clock);
    this.#balancer = new Balancer<Endpoint>({ policy: policy.balancer }, random, (id) => this.#outlier.isEjected(id));
    calls.join(this.#outlier);
  }

  /** @param loadBalancer what service-resolver says; undefined: the policy's balancer */
  update(policy: ResiliencePolicy, loadBalancer: FeedLoadBalancer | undefined, endpoints: readonly Endpoint[]): void {
    this.policy = policy;
    this.#outlier.update(policy.outlier);
    this.#outlier.setEndpoints(endpoints.map(({ id }) => id));
    this.#balancer.update(loadBalancer ?? { policy: policy.balancer }, policy.panicThreshold);
    this.#balancer.setEndpoints(endpoints);
    const before = this.#breakers.keys();
    this.#breakers = new Map([...new Set(endpoints)].map((each) => [each, this.calls.retainBreaker(each, policy)]));
    for (const endpoint of before) this.calls.releaseBreaker(endpoint);
  }

  /** Nobody is called any more. What is under way goes on. */
  close(): void {
    this.update(this.policy, undefined, []);
    this.calls.leave(this.#outlier);
  }

  get endpoints(): readonly Endpoint[] {
    return [...this.#breakers.keys()];
  }

  /** There is no instance, healthy or not. */
  get empty(): boolean {
    return this.#breakers.size === 0;
  }

  /** An instance that is neither critical in the catalog nor ejected here is there. */
  get healthy(): boolean {
    return this.#balancer.healthy;
  }

  /**
   * An instance whose breaker lets a call through, while the bulkhead has room for it.
   * @param perTryMs how long a try may take from its stream to its head
   * @param hash of what holds requests together at one instance
   * @param nowMs by the clock of the process
   */
  choose(
    excluded: readonly Endpoint[] | undefined,
    perTryMs: number,
    hash: number | undefined,
    nowMs: number,
  ): ChosenEndpoint | FullTarget | undefined {
    const ticketMs = perTryMs + this.policy.connectTimeoutMs;
    const { bulkhead } = this.calls;
    let out = excluded;
    for (;;) {
      const endpoint = this.#balancer.pick(out, hash);
      if (endpoint === undefined) return undefined;
      if (!bulkhead.enter(this.policy.maxConcurrent)) return { kind: 'full', most: this.policy.maxConcurrent };
      const ticket = this.#breakers.get(endpoint)?.admit(ticketMs, nowMs) ?? 'open';
      if (ticket !== 'open') {
        endpoint.inFlight += 1;
        return { kind: 'endpoint', target: this, endpoint, ticket };
      }
      bulkhead.leave();
      out = out === undefined ? [endpoint] : [...out, endpoint];
    }
  }

  /** The end of a call to an instance that was chosen here. */
  leave(endpoint: Endpoint): void {
    endpoint.inFlight -= 1;
    this.calls.bulkhead.leave();
  }

  /** An outcome of a call to an instance that was chosen here, for outlier ejection. */
  note(endpoint: Endpoint, success: boolean): void {
    this.calls.note(endpoint, success);
  }
}

/** An instance, with its breaker's leave and a place in the bulkhead: `target.leave` must follow, once. */
export interface ChosenEndpoint {
  readonly kind: 'endpoint';
  readonly target: Target;
  readonly endpoint: Endpoint;
  readonly ticket: BreakerTicket;
}

/** As many calls as may be are under way. */
export interface FullTarget {
  readonly kind: 'full';
  readonly most: number;
}
