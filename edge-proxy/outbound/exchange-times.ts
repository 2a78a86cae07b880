import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { OutgoingRequest } from '../client-stream.ts';
import { callTimeoutMs, withTimeLeft } from '../grpc-timeout.ts';
import { ReadyTimer } from './ready-timer.ts';

/** A timer's range. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * How long an exchange may take: until the head of the answer. Requests are streamed in their own time, so the wait begins when the request is whole, as with Envoy;
 * and what a gRPC caller says (`grpc-timeout`) bounds all of the call. It has one timer, for what is waited for now.
 */
export class ExchangeTimes {
  /** When it was made, by the clock given: that is read once for all that happens in one go. */
  readonly beganMs: number;
  readonly #policy: ResiliencePolicy;
  readonly #clock: { now(): number };
  readonly #callEndsMs: number;
  /** What the caller has said of that, when it said it, ms. */
  readonly #callMs: number | undefined;
  #deadlineMs = Number.POSITIVE_INFINITY;
  /** The answer's head is waited for. */
  #waiting = false;
  #tryEndsMs = Number.POSITIVE_INFINITY;
  #timer: ReadyTimer | undefined;

  constructor(policy: ResiliencePolicy, clock: { now(): number }, request: OutgoingRequest) {
    this.#policy = policy;
    this.#clock = clock;
    this.beganMs = clock.now();
    this.#callMs = callTimeoutMs(request);
    this.#callEndsMs = this.#callMs === undefined ? Number.POSITIVE_INFINITY : this.beganMs + this.#callMs;
    if (request.framing.kind === 'none') this.wait(this.beganMs);
  }

  /** From now on the head of the answer is waited for. @returns false: it was already */
  wait(nowMs: number = this.#clock.now()): boolean {
    if (this.#waiting) return false;
    this.#waiting = true;
    this.#deadlineMs = nowMs + this.#policy.requestTimeoutMs;
    return true;
  }

  /** Left until the head has to be here, over all tries, ms. */
  get leftMs(): number {
    return Math.min(this.#deadlineMs, this.#callEndsMs) - this.#clock.now();
  }

  /** A try begins, or its wait. @returns how long it may take, ms: until its head, or until the request is known to take its time; 0 or less: the time is over */
  beginTry(nowMs: number = this.#clock.now()): number {
    this.#tryEndsMs = Math.min(this.#deadlineMs, this.#callEndsMs, nowMs + this.#policy.perTryTimeoutMs);
    return this.#tryEndsMs - nowMs;
  }

  /** Left of the try, ms. */
  get tryLeftMs(): number {
    return this.#tryEndsMs - this.#clock.now();
  }

  /** The request is still on its way, and its caller has set no end to that: nobody is late. */
  get takesItsTime(): boolean {
    return !this.#waiting && this.leftMs > 0;
  }

  /** Until a request that takes its time is looked at again, ms. */
  get nextLookMs(): number {
    return Math.min(this.leftMs, this.#policy.perTryTimeoutMs);
  }

  /** Left of a gRPC call, ms. */
  get callMs(): number {
    return this.#callEndsMs - this.#clock.now();
  }

  /** The request as it goes out now: it says what is left of the time that its caller gave. */
  withTimeLeft(request: OutgoingRequest): OutgoingRequest {
    return this.#callMs === undefined ? request : withTimeLeft(request, this.#callMs, this.callMs);
  }

  /** Calls back once, unless `stop` or another wait comes before; Infinity: never. */
  after(timeoutMs: number, onTimeout: () => void): void {
    this.stop();
    if (timeoutMs <= longestTimerMs) this.#timer = ReadyTimer.start(Math.max(1, timeoutMs), onTimeout);
  }

  stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }
}
