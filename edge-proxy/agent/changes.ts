/** Lets readers wait for the next change of something. */
export class Changes {
  readonly #waiting = new Set<() => void>();
  #ended = false;

  /** Wakes whoever waits. */
  happened(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Nothing will change any more: nobody waits any longer. */
  end(): void {
    this.#ended = true;
    this.happened();
  }

  /** No change will come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves at the next change, at the end, or when `signal` aborts. */
  next(signal: AbortSignal): Promise<void> {
    if (this.#ended || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}
