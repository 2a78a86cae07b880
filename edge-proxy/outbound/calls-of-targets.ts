import { defaultResiliencePolicy, type ResiliencePolicy } from '#policies/resilience.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { ForcedBreakers } from '../forced-breakers.ts';
import { Breaker } from '../resilience/breaker.ts';
import { Bulkhead } from '../resilience/bulkhead.ts';
import type { OutlierDetector } from '../resilience/outlier.ts';
import { RetryBudget } from '../resilience/retry-budget.ts';
import type { Endpoint } from './endpoint.ts';

/** A breaker, and whose it is. */
export interface NamedBreaker {
  readonly target: string;
  readonly endpoint: string;
  readonly breaker: Breaker;
}

/**
 * What the calls of one local service have shown of one target, and what bounds them, by whatever upstream they come there: a breaker for each instance, a
 * bulkhead, a retry budget. Who decides on ejection hears of every outcome, and decides by the policy of its own upstream.
 */
export class CallsOfTarget {
  readonly name: string;
  readonly bulkhead = new Bulkhead();
  readonly budget: RetryBudget;
  readonly #service: string;
  readonly #forced: ForcedBreakers;
  readonly #process: ProcessContext;
  readonly #breakers = new Map<string, NamedBreaker & { users: number }>();
  #detectors: readonly OutlierDetector[] = [];

  /** @param service that calls */
  constructor(name: string, service: string, forced: ForcedBreakers, process: ProcessContext) {
    this.name = name;
    this.#service = service;
    this.#forced = forced;
    this.#process = process;
    this.budget = new RetryBudget(defaultResiliencePolicy.retries, process.clock);
  }

  get breakers(): Iterable<NamedBreaker> {
    return this.#breakers.values();
  }

  /** The breaker of an instance, made at its first use. `releaseBreaker` must follow. */
  retainBreaker(endpoint: Endpoint, { breaker: policy }: ResiliencePolicy): Breaker {
    const key = keyOf(endpoint);
    const known = this.#breakers.get(key);
    if (known !== undefined) {
      known.users += 1;
      known.breaker.update(policy);
      return known.breaker;
    }
    const { clock, log } = this.#process;
    const named = { target: this.name, endpoint: endpoint.id };
    const breaker = new Breaker({
      policy,
      clock,
      onStateChange: (state) => log.warn({ service: this.#service, ...named, state }, 'breaker'),
    });
    const held = this.#forced.of(this.name, endpoint.id);
    if (held !== undefined) breaker.force(held.state, held.sinceMs);
    this.#breakers.set(key, { ...named, breaker, users: 1 });
    return breaker;
  }

  /** An upstream calls this instance no more. */
  releaseBreaker(endpoint: Endpoint): void {
    const key = keyOf(endpoint);
    const known = this.#breakers.get(key);
    if (known === undefined) return;
    known.users -= 1;
    if (known.users > 0) return;
    this.#breakers.delete(key);
    known.breaker.dispose();
  }

  /** From here on it hears of outcomes, until `leave`. */
  join(detector: OutlierDetector): void {
    this.#detectors = [...this.#detectors, detector];
  }

  leave(detector: OutlierDetector): void {
    this.#detectors = this.#detectors.filter((one) => one !== detector);
  }

  /** An outcome, for outlier ejection. */
  note(endpoint: Endpoint, success: boolean): void {
    for (const detector of this.#detectors) detector.note(endpoint.id, success);
  }
}

/** The calls of one local service to all targets, by their names: `db`, `v2.db`. Kept while an upstream leads there; what is under way at the end goes on. */
export class CallsOfTargets {
  readonly #of: readonly [service: string, forced: ForcedBreakers, process: ProcessContext];
  readonly #targets = new Map<string, { readonly calls: CallsOfTarget; users: number }>();

  /**
   * @param service that calls
   * @param forced what an operator holds its breakers at
   */
  constructor(service: string, forced: ForcedBreakers, process: ProcessContext) {
    this.#of = [service, forced, process];
  }

  /** `release` must follow. */
  retain(name: string): CallsOfTarget {
    const known = this.#targets.get(name) ?? { calls: new CallsOfTarget(name, ...this.#of), users: 0 };
    known.users += 1;
    this.#targets.set(name, known);
    return known.calls;
  }

  /** An upstream leads there no more. */
  release(name: string): void {
    const known = this.#targets.get(name);
    if (known === undefined) return;
    known.users -= 1;
    if (known.users === 0) this.#targets.delete(name);
  }

  has(name: string): boolean {
    return this.#targets.has(name);
  }

  get breakers(): readonly NamedBreaker[] {
    return [...this.#targets.values()].flatMap(({ calls }) => [...calls.breakers]);
  }

  /** Lets go of breakers that hold nothing: made again at the next call. */
  shedIdleBreakers(): void {
    for (const { breaker } of this.breakers) if (breaker.idle) breaker.dispose();
  }
}

/** The same place and identity; what changes either is another instance. */
function keyOf({ id, host, port, spiffeId }: Endpoint): string {
  return `${id}\n${host}\n${port}\n${spiffeId}`;
}
