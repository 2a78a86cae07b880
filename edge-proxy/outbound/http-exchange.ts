import type { ResiliencePolicy } from '#policies/resilience.ts';
import { type AnswerSink, type BreakPoint, type ClientStream, noSink, type OutgoingRequest } from '../client-stream.ts';
import type { ResponseHead } from '../http1/message.ts';
import type { BreakerTicket } from '../resilience/breaker.ts';
import type { FailedTry } from '../resilience/retry-decision.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { type AnswerMeaning, meaningOf, statusAtEnd } from './answer-meaning.ts';
import type { Destination } from './destination.ts';
import type { Endpoint } from './endpoint.ts';
import type { OpenFailure } from './endpoint-tunnels.ts';
import type { ExchangeFailure, ExchangeOwner } from './exchange-owner.ts';
import { ExchangeTimes, timerOf } from './exchange-times.ts';

/** Body bytes that may wait for a stream before the caller is told to pause. */
const maxWaitingBytes = 65_536;
/** Pieces below this are copied when they are kept, so that a few bytes do not hold the large buffer that they were read into. */
const copyBelow = 4_096;

/**
 * One request on its way to an upstream: picks an endpoint, asks its breaker, sends, waits for the head, and tries again where the policy says that this is
 * safe. Nothing is retried once a byte of an answer went down. Every breaker ticket taken here is settled: at the head, at the failure, at the deadline, or
 * when the caller goes away.
 */
export class HttpExchange implements AnswerSink {
  readonly #destination: Destination;
  readonly #policy: ResiliencePolicy;
  readonly #request: OutgoingRequest;
  readonly #hash: number | undefined;
  readonly #owner: ExchangeOwner;
  readonly #times: ExchangeTimes;
  #phase: 'opening' | 'waiting' | 'answering' | 'backing-off' | 'done' = 'opening';
  /** Something of an answer has gone down, be it a 1xx. */
  #answerBegan = false;
  #attempt = 0;
  #endpoint: Endpoint | undefined;
  #ticket: BreakerTicket | undefined;
  #stream: ClientStream | undefined;
  #cancelOpen: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #tried: Endpoint[] | undefined;
  /** The body so far, for a replay or while no stream is there. Undefined: too long to keep. */
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #requestWhole: boolean;
  #trailers: HeaderFields | undefined;

  /**
   * @param policy the destination's, or what a route makes of it
   * @param hash of what holds requests together at one instance
   */
  constructor(
    destination: Destination,
    policy: ResiliencePolicy,
    request: OutgoingRequest,
    owner: ExchangeOwner,
    hash: number | undefined,
  ) {
    this.#hash = hash;
    this.#destination = destination;
    this.#policy = policy;
    this.#request = request;
    this.#owner = owner;
    this.#requestWhole = request.framing.kind === 'none';
    this.#times = new ExchangeTimes(policy, destination, request);
  }

  /** Endpoint that answered or was tried last, for the access log. */
  get endpointId(): string | undefined {
    return this.#endpoint?.id;
  }

  /** Tries so far. */
  get attempts(): number {
    return this.#attempt;
  }

  start(): void {
    if (!this.#destination.enter()) {
      this.#phase = 'done';
      this.#owner.answerFailed({
        code: 'SLV-4006',
        reason: `${this.#destination.policy.maxConcurrent} calls to ${this.#destination.name} are in flight`,
      });
      return;
    }
    this.#try();
  }

  /** Sends more of the request's body. @returns false: pause until `requestDrained` */
  sendBody(data: Buffer): boolean {
    if (this.#phase === 'done') return true;
    if (this.#kept !== undefined) {
      this.#kept.push(data.length < copyBelow ? Buffer.from(data) : data);
      this.#keptBytes += data.length;
      // Without a stream the bytes must be kept whatever their size; they are bounded because the caller pauses.
      if (this.#stream !== undefined && this.#keptBytes > this.#policy.retries.maxBodyBytes) this.#kept = undefined;
    }
    if (this.#stream !== undefined) return this.#stream.body(data);
    return this.#keptBytes < maxWaitingBytes;
  }

  /** All of the body has been sent. */
  endBody(trailers?: HeaderFields): void {
    this.#requestWhole = true;
    this.#trailers = trailers;
    this.#stream?.finish(trailers);
    if (this.#times.wait() && (this.#phase === 'opening' || this.#phase === 'waiting')) this.#startTimer();
  }

  /** The caller went away: nobody waits for the answer, and nobody is to blame. */
  cancel(): void {
    if (this.#phase === 'done') return;
    this.#ticket?.cancelled();
    this.#finish();
    this.#stream?.discard();
  }

  pauseAnswer(): void {
    this.#stream?.pause();
  }

  resumeAnswer(): void {
    this.#stream?.resume();
  }

  /** After an upgrade: the caller's end. */
  endUpgraded(): void {
    this.#stream?.end();
  }

  onInformational(head: ResponseHead): void {
    this.#answerBegan = true;
    this.#owner.answerInformational(head);
  }

  onHead(head: ResponseHead): void {
    const grpc = this.#request.http2?.grpc === true;
    if (!grpc && head.status < 400) this.#settle(!this.#destination.isFailure(head.status));
    else if (this.#retries(meaningOf(head, grpc))) return;
    this.#phase = 'answering';
    this.#kept = undefined;
    if (grpc) this.#watchCall();
    else clearTimeout(this.#timer);
    this.#owner.answerHead(head);
  }

  /** Settles the ticket by what the head says, where it says enough. @returns whether another try takes its place */
  #retries(meaning: AnswerMeaning): boolean {
    if (meaning.kind === 'open') return false;
    if (meaning.kind === 'denied') {
      this.#ticket?.cancelled(); // an intention's no is neither the application's failure nor its success
      this.#ticket = undefined;
      this.#destination.edge.denied.value += 1;
      return false;
    }
    const { failed } = meaning;
    this.#settle(meaning.kind === 'answered' && !this.#destination.isFailure(meaning.status));
    // Which answers are tried again is the retry policy's to say, whatever counts as a failure of the endpoint.
    if (failed === undefined || !this.#mayRetry(failed)) return false;
    this.#retryInstead();
    return true;
  }

  onBody(chunk: Buffer): void {
    if (this.#phase !== 'answering') return;
    // What a gRPC call says at its end does not undo that it was answered.
    if (this.#ticket !== undefined) this.#settle(true);
    this.#owner.answerBody(chunk);
  }

  onFlush(): void {
    if (this.#phase === 'answering') this.#owner.answerFlush();
  }

  onComplete(trailers?: HeaderFields): void {
    const stream = this.#stream;
    if (this.#ticket !== undefined) this.#settle(!this.#destination.isFailure(statusAtEnd(trailers)));
    this.#finish();
    if (this.#requestWhole) stream?.release();
    else stream?.discard();
    this.#owner.answerComplete(trailers);
  }

  onUpgraded(head: ResponseHead): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#settle(true);
    this.#phase = 'answering';
    this.#requestWhole = false; // never back to the pool
    this.#kept = undefined;
    this.#owner.answerUpgraded(head);
  }

  onBroken(reason: string, point: BreakPoint): void {
    if (this.#phase === 'answering') {
      if (this.#ticket !== undefined) this.#settle(false);
      this.#finish();
      this.#owner.answerCut('SLV-4005', reason);
      return;
    }
    this.#settle(false);
    // A stream that closed before a byte of an answer may still have delivered the request: only idempotent requests go again.
    this.#failTry(
      { kind: point === 'refused' ? 'refused' : 'reset' },
      { code: 'SLV-4005', reason: point === 'begun' ? `${reason} within the answer's head` : reason },
    );
  }

  onDrain(): void {
    this.#owner.requestDrained();
  }

  #try(): void {
    this.#phase = 'opening';
    this.#attempt += 1;
    const choice = this.#destination.choose(this.#tried, this.#policy.perTryTimeoutMs, this.#hash);
    if (choice.kind === 'none') {
      this.#fail({ code: 'SLV-4002', reason: `no healthy instance of ${this.#destination.name} is known` });
      return;
    }
    if (choice.kind === 'open') {
      this.#fail({ code: 'SLV-4003', reason: `the breaker of each instance of ${this.#destination.name} is open` });
      return;
    }
    const { endpoint, ticket } = choice;
    this.#endpoint = endpoint;
    this.#ticket = ticket;
    endpoint.inFlight += 1;
    this.#startTimer();
    const free = endpoint.takeFree(this.#request);
    if (free !== undefined) {
      this.#send(free);
      return;
    }
    this.#cancelOpen = endpoint.openStream(
      this.#request,
      endpoint.connectTimeoutMs,
      (stream) => {
        this.#cancelOpen = undefined;
        this.#send(stream);
      },
      (failure) => {
        this.#cancelOpen = undefined;
        this.#onOpenFailure(failure);
      },
    );
  }

  #send(stream: ClientStream): void {
    this.#stream = stream;
    this.#phase = 'waiting';
    let more = stream.begin(this, this.#request);
    for (const data of this.#kept ?? []) more = stream.body(data);
    if (this.#requestWhole) stream.finish(this.#trailers);
    if (this.#keptBytes > this.#policy.retries.maxBodyBytes) this.#kept = undefined;
    if (more) this.#owner.requestDrained();
  }

  #onOpenFailure(failure: OpenFailure): void {
    if (failure.kind === 'denied') {
      this.#ticket?.cancelled();
      const { reason, decision } = failure;
      this.#fail({ code: 'SLV-4001', reason, ...(decision === undefined ? {} : { decision }) });
      return;
    }
    this.#settle(false);
    const code = failure.kind === 'connect-failure' ? 'SLV-4005' : 'SLV-4002';
    this.#failTry({ kind: failure.kind }, { code, reason: failure.reason });
  }

  /** Bounds this try. */
  #startTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = timerOf(this.#times.tryMs, () => this.#onTimeout());
  }

  /** A gRPC call goes on behind its head: to its first message or its end, by which it is judged; and no longer than its caller said. */
  #watchCall(): void {
    clearTimeout(this.#timer);
    const { callMs, tryMs } = this.#times;
    this.#timer = timerOf(this.#ticket === undefined ? callMs : Math.min(callMs, tryMs), () => this.#onCallTimer());
  }

  #onCallTimer(): void {
    if (this.#times.callMs > 0) {
      // It streams, and has nothing to say yet: its head was the answer.
      this.#settle(true);
      this.#watchCall();
      return;
    }
    if (this.#ticket !== undefined) this.#settle(false);
    const stream = this.#stream;
    this.#finish();
    stream?.discard();
    this.#owner.answerCut('SLV-4004', 'the time that the caller gave is over');
  }

  #onTimeout(): void {
    this.#timer = undefined;
    if (this.#times.takesItsTime && this.#phase === 'waiting') {
      // An upload or a conversation: no breaker is to wait for its end, nor a probe.
      this.#ticket?.cancelled();
      this.#ticket = undefined;
      this.#timer = timerOf(this.#times.leftMs, () => this.#onTimeout());
      return;
    }
    this.#settle(false);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.discard();
    this.#cancelOpen?.();
    this.#cancelOpen = undefined;
    this.#failTry(
      { kind: 'timeout' },
      { code: 'SLV-4004', reason: `no answer from ${this.#destination.name} in time` },
    );
  }

  /** This try failed before anything went down. */
  #failTry(failed: FailedTry, failure: ExchangeFailure): void {
    this.#stream = undefined;
    if (this.#mayRetry(failed)) this.#scheduleRetry();
    else this.#fail(failure);
  }

  #mayRetry(failed: FailedTry): boolean {
    return this.#destination.mayRetry(this.#policy.retries, {
      failed,
      answerBegan: this.#answerBegan,
      method: this.#request.method,
      attempt: this.#attempt,
      bodyReplayable: this.#kept !== undefined,
      remainingMs: this.#times.leftMs,
    });
  }

  /** Nobody wants this answer. When the rest of it came along with its head, its stream can be used again. */
  #retryInstead(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream !== undefined) {
      if (this.#requestWhole) stream.sink = releasedIfWhole(stream);
      else stream.discard();
    }
    this.#scheduleRetry();
  }

  #scheduleRetry(): void {
    this.#leaveEndpoint();
    this.#phase = 'backing-off';
    const delayMs = this.#destination.backoff(this.#policy.retries, this.#attempt);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#try();
    }, delayMs);
  }

  #settle(success: boolean): void {
    if (this.#endpoint !== undefined) this.#destination.note(this.#endpoint, success);
    if (success) this.#ticket?.success();
    else this.#ticket?.failure();
    this.#ticket = undefined;
  }

  #leaveEndpoint(): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined) return;
    endpoint.inFlight -= 1;
    this.#tried ??= [];
    this.#tried.push(endpoint);
    this.#endpoint = undefined;
  }

  #fail(failure: ExchangeFailure): void {
    this.#finish();
    this.#owner.answerFailed(failure);
  }

  #finish(): void {
    if (this.#phase === 'done') return;
    this.#phase = 'done';
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#cancelOpen?.();
    this.#cancelOpen = undefined;
    this.#ticket = undefined;
    this.#kept = undefined;
    if (this.#endpoint !== undefined) this.#endpoint.inFlight -= 1;
    this.#destination.leave();
  }
}

/** Gives a stream back after an answer that is whole already, else ends it: a rest that comes late, or never, is waited for by nobody. */
function releasedIfWhole(stream: ClientStream): AnswerSink {
  return { ...noSink, onComplete: () => stream.release(), onFlush: () => stream.discard() };
}
