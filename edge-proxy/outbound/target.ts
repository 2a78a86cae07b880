import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { FeedLoadBalancer } from '#policies/wire/feed-routing.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { Balancer } from '../resilience/balancer.ts';
import type { BreakerTicket } from '../resilience/breaker.ts';
import { OutlierDetector } from '../resilience/outlier.ts';
import type { Endpoint } from './endpoint.ts';

/** Instances of one service that stand in for one another: which of them is called, and which are left out for a while. */
export class Target {
  policy: ResiliencePolicy;
  endpoints: readonly Endpoint[] = [];
  readonly #balancer: Balancer<Endpoint>;
  readonly #outlier: OutlierDetector;

  constructor(policy: ResiliencePolicy, { clock, random }: ProcessContext) {
    this.policy = policy;
    this.#outlier = new OutlierDetector(policy.outlier, clock);
    this.#balancer = new Balancer<Endpoint>({ policy: policy.balancer }, random, (id) => this.#outlier.isEjected(id));
  }

  /** @param loadBalancer what service-resolver says; undefined: the policy's balancer */
  update(policy: ResiliencePolicy, loadBalancer: FeedLoadBalancer | undefined, endpoints: readonly Endpoint[]): void {
    this.policy = policy;
    this.endpoints = endpoints;
    this.#outlier.update(policy.outlier);
    this.#outlier.setEndpoints(endpoints.map(({ id }) => id));
    this.#balancer.update(loadBalancer ?? { policy: policy.balancer }, policy.panicThreshold);
    this.#balancer.setEndpoints(endpoints);
  }

  /** An instance that is neither critical in the catalog nor ejected here is there. */
  get healthy(): boolean {
    return this.#balancer.healthy;
  }

  /**
   * An instance whose breaker lets a call through.
   * @param perTryMs how long a try may take from its stream to its head
   * @param hash of what holds requests together at one instance
   */
  choose(
    excluded: readonly Endpoint[] | undefined,
    perTryMs: number,
    hash: number | undefined,
  ): ChosenEndpoint | undefined {
    const ticketMs = perTryMs + this.policy.connectTimeoutMs;
    let out = excluded;
    for (;;) {
      const endpoint = this.#balancer.pick(out, hash);
      if (endpoint === undefined) return undefined;
      const ticket = endpoint.breaker.admit(ticketMs);
      if (ticket !== 'open') return { kind: 'endpoint', endpoint, ticket };
      out = out === undefined ? [endpoint] : [...out, endpoint];
    }
  }

  /** An outcome, for outlier ejection; of an instance of another target: none. */
  note(endpoint: Endpoint, success: boolean): void {
    this.#outlier.note(endpoint.id, success);
  }
}

/** An instance, with its breaker's leave. */
export interface ChosenEndpoint {
  readonly kind: 'endpoint';
  readonly endpoint: Endpoint;
  readonly ticket: BreakerTicket;
}
