import type { Clock } from '#runtime/clock.ts';
import { type Linked, LinkedSet } from './linked-set.ts';

/** Something that ends when nothing moves in it. `touch` it with each byte: one store, no timer. */
export class IdleGuard implements Linked<IdleGuard> {
  before: IdleGuard | undefined;
  after: IdleGuard | undefined;
  linkedIn: object | undefined;
  touched = false;
  lastMs: number;
  readonly timeoutMs: number;
  readonly onIdle: () => void;

  constructor(nowMs: number, timeoutMs: number, onIdle: () => void) {
    this.lastMs = nowMs;
    this.timeoutMs = timeoutMs;
    this.onIdle = onIdle;
  }
}

const intervalMs = 1_000;

/**
 * Ends what has been idle for too long, by looking at all of it once a second: exact to about that, and a connection costs no timer of its own.
 */
export class IdleSweep {
  readonly #clock: Clock;
  readonly #guards = new LinkedSet<IdleGuard>();
  readonly #timer: NodeJS.Timeout;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#timer = setInterval(() => this.sweep(), intervalMs);
    this.#timer.unref();
  }

  /** @param onIdle called once, after `timeoutMs` without a touch */
  guard(timeoutMs: number, onIdle: () => void): IdleGuard {
    const guard = new IdleGuard(this.#clock(), timeoutMs, onIdle);
    this.#guards.add(guard);
    return guard;
  }

  release(guard: IdleGuard): void {
    this.#guards.delete(guard);
  }

  /** What is watched now. */
  get size(): number {
    return this.#guards.size;
  }

  /** One look at everything; the timer's work, callable by tests. */
  sweep(): void {
    const now = this.#clock();
    for (const guard of this.#guards.all()) {
      // One that was let go of by another's end.
      if (!this.#guards.has(guard)) continue;
      // A clock set back counts as a touch, or the time until it has caught up would be on top.
      if (guard.touched || now < guard.lastMs) {
        guard.touched = false;
        guard.lastMs = now;
      } else if (now - guard.lastMs >= guard.timeoutMs) {
        this.#guards.delete(guard);
        guard.onIdle();
      }
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#guards.clear();
  }
}
