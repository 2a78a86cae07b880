import type { OutgoingRequest } from '../client-stream.ts';
import { callTimeoutMs, withTimeLeft } from '../grpc-timeout.ts';

/**
 * How much later than its caller a call is ended here, ms. A calling proxy of ours ends it to the millisecond, and knows what a call that was over in time is worth
 * to its breaker; an answer of ours would be the instance's failure. This is for all who ask for an end and do not see to it.
 */
const graceMs = 50;
/** Longer is no end. */
const longestMs = 2 ** 31 - 1 - graceMs;

/** The end that a gRPC caller has set to its call (`grpc-timeout`), counted from its head on. */
export class CallDeadline {
  readonly #timeoutMs: number;
  readonly #startedMs = performance.now();
  readonly #timer: NodeJS.Timeout;

  private constructor(timeoutMs: number, onOver: () => void) {
    this.#timeoutMs = timeoutMs;
    this.#timer = setTimeout(onOver, timeoutMs + graceMs);
  }

  /** @param onOver called once, unless it is stopped before. @returns undefined: the request has none */
  static of(request: OutgoingRequest, onOver: () => void): CallDeadline | undefined {
    const timeoutMs = callTimeoutMs(request);
    return timeoutMs === undefined || timeoutMs > longestMs ? undefined : new CallDeadline(timeoutMs, onOver);
  }

  /** The call as it goes on now: it says what is left of its time. */
  within(call: OutgoingRequest): OutgoingRequest {
    return withTimeLeft(call, this.#timeoutMs, this.#timeoutMs - (performance.now() - this.#startedMs));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
