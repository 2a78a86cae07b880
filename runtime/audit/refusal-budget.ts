import type { Clock } from '../clock.ts';

/** Refusals recorded one by one: a burst, then this many a second. Whoever floods the door must not fill the disk. */
const rate = { burst: 100, perSecond: 10 };

/** Which refusals are recorded one by one, and how many were not. */
export class RefusalBudget {
  readonly #clock: Clock;
  #tokens = rate.burst;
  #refilledMs: number;
  #unrecorded = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#refilledMs = clock();
  }

  /** Takes note of a refusal. @returns whether it is to be recorded by itself; if not, it is counted */
  take(): boolean {
    const nowMs = this.#clock();
    const refill = (Math.max(nowMs - this.#refilledMs, 0) / 1_000) * rate.perSecond;
    this.#tokens = Math.min(this.#tokens + refill, rate.burst);
    this.#refilledMs = nowMs;
    if (this.#tokens < 1) {
      this.#unrecorded += 1;
      return false;
    }
    this.#tokens -= 1;
    return true;
  }

  /** How many were only counted since this was asked last. */
  counted(): number {
    const count = this.#unrecorded;
    this.#unrecorded = 0;
    return count;
  }
}
