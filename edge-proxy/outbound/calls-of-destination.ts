import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { Clock } from '#runtime/clock.ts';
import { Bulkhead } from '../resilience/bulkhead.ts';
import { RetryBudget } from '../resilience/retry-budget.ts';

/** What bounds the calls of one local service to a destination, by whatever upstream they come there. */
export interface CallBounds {
  readonly bulkhead: Bulkhead;
  readonly budget: RetryBudget;
}

/**
 * The bounds of all destinations of one local service, by their names: a service that is called by its own name and by another that is redirected to it, or split
 * onto it, is not asked for twice as much. Kept while an upstream has the destination.
 */
export class CallsOfDestinations {
  readonly #clock: Clock;
  readonly #bounds = new Map<string, CallBounds & { users: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param policy what holds until the destination says otherwise. `release` must follow */
  retain(name: string, policy: ResiliencePolicy): CallBounds {
    const known = this.#bounds.get(name);
    if (known !== undefined) {
      known.users += 1;
      return known;
    }
    const bounds = { bulkhead: new Bulkhead(), budget: new RetryBudget(policy.retries, this.#clock), users: 1 };
    this.#bounds.set(name, bounds);
    return bounds;
  }

  /** An upstream leads there no more. What is under way goes on, and leaves the bounds that it entered. */
  release(name: string): void {
    const known = this.#bounds.get(name);
    if (known === undefined) return;
    known.users -= 1;
    if (known.users === 0) this.#bounds.delete(name);
  }
}
