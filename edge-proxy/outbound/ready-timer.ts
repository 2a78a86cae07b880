/** Timers kept for the next that needs one: each is some 200 bytes. */
const mostReady = 256;

let ready: ReadyTimer | undefined;
let size = 0;

/**
 * A timer that is used again. Each request has one, which mostly does not fire: to make and end one of Node's costs 130 to 350 ns, to move one that there is to the end of
 * Node's list of its duration, which is in the order of deadlines, 60 (`refresh`).
 */
export class ReadyTimer {
  readonly #timeoutMs: number;
  readonly #timer: NodeJS.Timeout;
  #onTimeout: (() => void) | undefined;
  /** The next one that is ready. */
  #next: ReadyTimer | undefined;

  private constructor(timeoutMs: number, onTimeout: () => void) {
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
    this.#timer = setTimeout(() => this.#fire(), timeoutMs);
  }

  /** As setTimeout, of what mostly does not come to that, and mostly takes equally long. `stop` must follow, be it behind the call. */
  static start(timeoutMs: number, onTimeout: () => void): ReadyTimer {
    const timer = ready;
    if (timer === undefined) return new ReadyTimer(timeoutMs, onTimeout);
    ready = timer.#next;
    timer.#next = undefined;
    size -= 1;
    if (timer.#timeoutMs !== timeoutMs) {
      clearTimeout(timer.#timer);
      return new ReadyTimer(timeoutMs, onTimeout);
    }
    timer.#onTimeout = onTimeout;
    timer.#timer.ref().refresh();
    return timer;
  }

  /** It calls nobody any more, and is the next one's: once. */
  stop(): void {
    this.#onTimeout = undefined;
    if (size === mostReady) {
      clearTimeout(this.#timer);
      return;
    }
    // It may run out meanwhile, which changes nothing, and keeps no process alive for that.
    this.#timer.unref();
    this.#next = ready;
    ready = this;
    size += 1;
  }

  #fire(): void {
    const onTimeout = this.#onTimeout;
    this.#onTimeout = undefined;
    onTimeout?.();
  }
}
