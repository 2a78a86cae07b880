import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { OutgoingRequest } from '../client-stream.ts';
import { headerValues } from '../http1/forwardable-headers.ts';
import { grpcTimeoutMs } from '../http2/grpc.ts';

/** A timer's range. */
const longestTimerMs = 2 ** 31 - 1;

/** A timer, where its time is one; Infinity is none. */
export function timerOf(timeoutMs: number, onTimeout: () => void): NodeJS.Timeout | undefined {
  return timeoutMs > longestTimerMs ? undefined : setTimeout(onTimeout, Math.max(1, timeoutMs));
}

/**
 * How long an exchange may take. HTTP/1.1: until the head of the answer, from the request's head on. HTTP/2 streams requests in their own time, so there the wait
 * begins when the request is whole, as with Envoy; and what a gRPC caller says (`grpc-timeout`) bounds all of the call.
 */
export class ExchangeTimes {
  readonly #policy: ResiliencePolicy;
  readonly #clock: { now(): number };
  readonly #callEndsMs: number;
  #deadlineMs = Number.POSITIVE_INFINITY;
  /** The answer's head is waited for. */
  #waiting = false;

  constructor(policy: ResiliencePolicy, clock: { now(): number }, request: OutgoingRequest) {
    const { http2, framing, headers } = request;
    this.#policy = policy;
    this.#clock = clock;
    const callMs = http2?.grpc === true ? grpcTimeoutMs(headerValues(headers, 'grpc-timeout')[0]) : undefined;
    this.#callEndsMs = callMs === undefined ? Number.POSITIVE_INFINITY : clock.now() + callMs;
    if (http2 === undefined || framing.kind === 'none') this.wait();
  }

  /** From now on the head of the answer is waited for. @returns false: it was already */
  wait(): boolean {
    if (this.#waiting) return false;
    this.#waiting = true;
    this.#deadlineMs = this.#clock.now() + this.#policy.requestTimeoutMs;
    return true;
  }

  /** Left until the head has to be here, over all tries, ms. */
  get leftMs(): number {
    return Math.min(this.#deadlineMs, this.#callEndsMs) - this.#clock.now();
  }

  /** For one try that begins now, ms: until its head, or until the request is known to take its time. */
  get tryMs(): number {
    return Math.min(this.leftMs, this.#policy.perTryTimeoutMs);
  }

  /** The request is still on its way, and its caller has set no end to that: nobody is late. */
  get takesItsTime(): boolean {
    return !this.#waiting && this.leftMs > 0;
  }

  /** Left of a gRPC call, ms. */
  get callMs(): number {
    return this.#callEndsMs - this.#clock.now();
  }
}
