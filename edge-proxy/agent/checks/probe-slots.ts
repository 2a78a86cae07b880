import type { Timers } from '../timers.ts';

/** How many probes are at work at once: few enough that the proxy's traffic goes on between them. */
const maxAtWork = 32;
/** A probe that runs for longer is not at work but waits for somebody who is silent, which costs nothing. It must not hold up the checks of those who are well. */
const atWorkMs = 100;

/** A bound on what is at work at once; who comes later waits in order. */
export class ProbeSlots {
  readonly #timers: Timers;
  readonly #waiting = new Set<() => void>();
  #free: number;

  constructor(timers: Timers, size: number = maxAtWork) {
    this.#timers = timers;
    this.#free = size;
  }

  /** Runs it when there is room. @returns undefined when the signal aborted before */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    if (!(await this.#taken(signal))) return undefined;
    let held = true;
    const release = () => {
      if (held) this.#pass();
      held = false;
    };
    const cancel = this.#timers.after(atWorkMs, release);
    try {
      return await work();
    } finally {
      cancel();
      release();
    }
  }

  /** The slot is handed over, not freed in between: nobody can overtake. */
  #pass(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#free += 1;
    else next();
  }

  async #taken(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    if (this.#free > 0) {
      this.#free -= 1;
      return true;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const settle = (taken: boolean) => {
      this.#waiting.delete(onTurn);
      signal.removeEventListener('abort', onAbort);
      resolve(taken);
    };
    const onTurn = () => settle(true);
    const onAbort = () => settle(false);
    this.#waiting.add(onTurn);
    signal.addEventListener('abort', onAbort, { once: true });
    return promise;
  }
}
