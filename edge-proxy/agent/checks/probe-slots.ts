/** How many probes run at once: as many as a host's loopback answers in a moment, few enough that the proxy's traffic goes on between them. */
export const maxProbesAtOnce = 32;

/** A bound on what runs at once; who comes later waits in order. */
export class ProbeSlots {
  readonly #waiting = new Set<() => void>();
  #free: number;

  constructor(size: number = maxProbesAtOnce) {
    this.#free = size;
  }

  /** Runs it when there is room. @returns undefined when the signal aborted before */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    if (!(await this.#taken(signal))) return undefined;
    try {
      return await work();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  async #taken(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    if (this.#free > 0) {
      this.#free -= 1;
      return true;
    }
    const { promise, resolve } = Promise.withResolvers<boolean>();
    // The slot is handed over, not freed in between: nobody can overtake.
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
