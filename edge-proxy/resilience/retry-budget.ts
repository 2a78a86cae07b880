import type { RetryPolicy } from '#policies/resilience.ts';
import type { Clock } from '#runtime/clock.ts';

type Budget = Pick<RetryPolicy, 'budgetRatio' | 'budgetMinPerSecond'>;

/** Seconds over which requests earn retries. */
const windowSeconds = 10;

/**
 * Keeps retries from becoming a storm (G-22): of the last ten seconds' requests at most `budgetRatio` may be retries, and beyond that
 * `budgetMinPerSecond` in each second. So over any time, retries <= ratio * requests + floor * seconds begun.
 */
export class RetryBudget {
  #policy: Budget;
  readonly #clock: Clock;
  #second: number;
  /** Rings by second: this one at `#slot`. */
  readonly #requests = new Float64Array(windowSeconds);
  readonly #earned = new Float64Array(windowSeconds);
  #slot = 0;
  #requestSum = 0;
  #earnedSum = 0;
  /** Retries out of the floor in this second. */
  #floorUsed = 0;

  constructor(policy: Budget, clock: Clock) {
    this.#policy = policy;
    this.#clock = clock;
    this.#second = Math.floor(clock() / 1_000);
  }

  /** A new policy: counts stay. */
  update(policy: Budget): void {
    this.#policy = policy;
  }

  /** A request began (not a retry). @param nowMs by the clock given, where that was read just now */
  noteRequest(nowMs: number = this.#clock()): void {
    this.#advance(nowMs);
    this.#requests[this.#slot] = (this.#requests[this.#slot] ?? 0) + 1;
    this.#requestSum += 1;
  }

  /** @returns true: the retry may be made and is paid for */
  take(): boolean {
    this.#advance(this.#clock());
    if (this.#earnedSum + 1 <= this.#policy.budgetRatio * this.#requestSum) {
      this.#earned[this.#slot] = (this.#earned[this.#slot] ?? 0) + 1;
      this.#earnedSum += 1;
      return true;
    }
    if (this.#floorUsed + 1 > this.#policy.budgetMinPerSecond) return false;
    this.#floorUsed += 1;
    return true;
  }

  /** For the admin API: the last ten seconds. */
  snapshot(): { readonly requests: number; readonly earnedRetries: number; readonly floorUsedThisSecond: number } {
    this.#advance(this.#clock());
    return { requests: this.#requestSum, earnedRetries: this.#earnedSum, floorUsedThisSecond: this.#floorUsed };
  }

  /** A clock set back counts as one second gone by: nothing is stuck until it has caught up. */
  #advance(nowMs: number): void {
    const second = Math.floor(nowMs / 1_000);
    if (second === this.#second) return;
    const steps = second < this.#second ? 1 : Math.min(second - this.#second, windowSeconds);
    this.#second = second;
    this.#floorUsed = 0;
    for (let step = 0; step < steps; step++) {
      this.#slot = (this.#slot + 1) % windowSeconds;
      this.#requestSum -= this.#requests[this.#slot] ?? 0;
      this.#earnedSum -= this.#earned[this.#slot] ?? 0;
      this.#requests[this.#slot] = 0;
      this.#earned[this.#slot] = 0;
    }
  }
}
