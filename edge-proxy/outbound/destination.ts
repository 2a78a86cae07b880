import { defaultResiliencePolicy, type ResiliencePolicy, type RetryPolicy } from '#policies/resilience.ts';
import type { ShareSequence } from '#policies/routing/split-sequence.ts';
import type { FeedHashPolicy } from '#policies/wire/feed-routing.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { backoffMs } from '../resilience/backoff.ts';
import { decideRetry, type RetryQuestion } from '../resilience/retry-decision.ts';
import type { EdgeTraffic } from '../traffic.ts';
import type { DestinationView, TargetView } from '../view/service-view.ts';
import type { CallsOfTargets } from './calls-of-targets.ts';
import type { Endpoint } from './endpoint.ts';
import { type ChosenEndpoint, type FullTarget, Target } from './target.ts';

/** What came of asking for an endpoint. `open`: there are some, but their breakers let nothing through. */
export type EndpointChoice = ChosenEndpoint | FullTarget | { readonly kind: 'none' } | { readonly kind: 'open' };

/** What the admin API shows of a destination: its targets in the order of failover. */
export interface DestinationShown {
  readonly name: string;
  readonly inFlight: number;
  readonly targets: readonly {
    readonly name: string;
    readonly healthy: boolean;
    readonly endpoints: readonly string[];
  }[];
}

/**
 * Where calls go: one target, and those that it fails over to, under the times, retries and retry budget of the first. An upstream that is neither routed nor
 * split has one destination.
 */
export class Destination {
  /** For people: `db`, `v2.db`. */
  readonly name: string;
  readonly edge: EdgeTraffic;
  policy: ResiliencePolicy = defaultResiliencePolicy;
  /** What of a request decides on its instance; undefined: nothing. */
  hashPolicies: readonly FeedHashPolicy[] | undefined;
  /** Who gets a copy of a share of the requests; undefined: nobody. Set by the upstream, which knows all destinations. */
  mirror: { readonly to: Destination; readonly share: number; readonly which: ShareSequence } | undefined;
  readonly #process: ProcessContext;
  #targets: readonly Target[] = [];
  /** When there is one, as mostly: spares each call a loop. */
  #only: Target | undefined;
  readonly #byName = new Map<string, Target>();
  readonly #calls: CallsOfTargets;
  #inFlight = 0;
  readonly #failureStatuses = new Uint8Array(600);

  /** @param calls of the local service to all targets. `close` must follow */
  constructor(name: string, edge: EdgeTraffic, process: ProcessContext, calls: CallsOfTargets) {
    this.name = name;
    this.edge = edge;
    this.#process = process;
    this.#calls = calls;
    this.#setFailureStatuses();
  }

  /** @param endpointsOf the endpoints of a target that may be called */
  update({ targets, loadBalancer }: DestinationView, endpointsOf: (target: TargetView) => readonly Endpoint[]): void {
    const before = new Map(this.#byName);
    this.#byName.clear();
    this.#targets = targets.map((view) => {
      const target = this.#byName.get(view.name) ?? before.get(view.name) ?? this.#target(view);
      this.#byName.set(view.name, target);
      target.update(view.resilience, loadBalancer, endpointsOf(view));
      return target;
    });
    for (const [name, target] of before) if (!this.#byName.has(name)) this.#drop(target);
    this.#only = this.#targets.length === 1 ? this.#targets[0] : undefined;
    this.hashPolicies = loadBalancer !== undefined && 'hash' in loadBalancer ? loadBalancer.hash : undefined;
    this.policy = targets[0]?.resilience ?? this.policy;
    this.#targets[0]?.calls.budget.update(this.policy.retries);
    this.#setFailureStatuses();
  }

  /** The upstream is not known any more: the policy stays, nobody is called. */
  forget(): void {
    for (const target of this.#targets) target.update(target.policy, undefined, []);
  }

  /** Calls lead here no more; those under way go on. */
  close(): void {
    for (const target of this.#byName.values()) this.#drop(target);
  }

  /** The names of its targets. */
  get targets(): readonly string[] {
    return [...this.#byName.values()].map(({ calls }) => calls.name);
  }

  get shown(): DestinationShown {
    const targets = [...this.#byName].map(([name, { healthy, endpoints }]) => ({
      name,
      healthy,
      endpoints: endpoints.map(({ id }) => id),
    }));
    return { name: this.name, inFlight: this.inFlight, targets };
  }

  now(): number {
    return this.#process.clock();
  }

  /** Begins a call. `leave` must follow, once. @param nowMs as `now` */
  enter(nowMs: number): void {
    this.#targets[0]?.calls.budget.noteRequest(nowMs);
    this.#inFlight += 1;
  }

  leave(): void {
    this.#inFlight -= 1;
  }

  /** Calls, or TCP connections, of this upstream under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * The endpoint for the next try, with its breaker's leave. Those tried before come again only when there is no other.
   * @param perTryMs how long a try may take from its stream to its head
   * @param hash of the request, see `hashPolicies`
   * @param nowMs as `now`
   */
  choose(
    tried: readonly Endpoint[] | undefined,
    perTryMs: number,
    hash: number | undefined,
    nowMs: number,
  ): EndpointChoice {
    return (
      this.#choose(tried, perTryMs, hash, nowMs) ??
      (tried === undefined ? undefined : this.#choose(undefined, perTryMs, hash, nowMs)) ?? {
        kind: this.#targets.every(({ empty }) => empty) ? 'none' : 'open',
      }
    );
  }

  /** Whether a failed try may go again; a yes is paid for out of the retry budget. */
  mayRetry(policy: RetryPolicy, question: RetryQuestion): boolean {
    if (decideRetry(policy, question) !== 'retry') return false;
    if (this.#targets[0]?.calls.budget.take() !== true) return false;
    this.edge.retries.value += 1;
    return true;
  }

  /** How long to wait before the next try, ms. */
  backoff(policy: RetryPolicy, attempt: number): number {
    return backoffMs(policy, attempt, this.#process.random);
  }

  /** Whether an answer's status counts as the endpoint's failure. */
  isFailure(status: number): boolean {
    return this.#failureStatuses[status] === 1;
  }

  /**
   * The first target that has a healthy instance which may be called. When none has a healthy one at all, the first that has any: what is out may be well after
   * all, and failing for certain helps nobody.
   */
  #choose(
    excluded: readonly Endpoint[] | undefined,
    perTryMs: number,
    hash: number | undefined,
    nowMs: number,
  ): ChosenEndpoint | FullTarget | undefined {
    if (this.#only !== undefined) return this.#only.choose(excluded, perTryMs, hash, nowMs);
    const someHealthy = this.#targets.some(({ healthy }) => healthy);
    for (const target of this.#targets) {
      if (someHealthy && !target.healthy) continue;
      const chosen = target.choose(excluded, perTryMs, hash, nowMs);
      if (chosen !== undefined) return chosen;
    }
    return undefined;
  }

  #target({ name, partOf = name, resilience }: TargetView): Target {
    return new Target(resilience, this.#calls.retain(partOf), this.#process);
  }

  #drop(target: Target): void {
    target.close();
    this.#calls.release(target.calls.name);
  }

  #setFailureStatuses(): void {
    this.#failureStatuses.fill(0);
    for (const status of this.policy.breaker.failureStatuses) this.#failureStatuses[status] = 1;
  }
}
