import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { ByteStream } from '../byte-stream.ts';
import { type AnswerSink, type BreakPoint, type ClientStream, type OutgoingRequest, unread } from '../client-stream.ts';
import type { ResponseHead } from '../http1/message.ts';
import type { BreakerTicket } from '../resilience/breaker.ts';
import type { FailedTry } from '../resilience/retry-decision.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { type AnswerMeaning, meaningOf, statusAtEnd } from './answer-meaning.ts';
import type { Destination } from './destination.ts';
import type { Endpoint } from './endpoint.ts';
import type { OpenFailure } from './endpoint-tunnels.ts';
import type { ExchangeFailure, ExchangeOwner } from './exchange-owner.ts';
import { ExchangeTimes } from './exchange-times.ts';
import { KeptBody } from './kept-body.ts';
import type { ChosenEndpoint } from './target.ts';

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
  /** A gRPC call behind its head: `spoke`: its first message has come; `lasts`: it takes longer than a try may. */
  #call: 'silent' | 'spoke' | 'lasts' = 'silent';
  /** Something of an answer has gone down, be it a 1xx. */
  #answerBegan = false;
  #attempt = 0;
  /** Until the next try, ms. */
  #backoffMs = 0;
  #chosen: ChosenEndpoint | undefined;
  #ticket: BreakerTicket | undefined;
  #stream: ClientStream | undefined;
  #cancelOpen: (() => void) | undefined;
  #tried: Endpoint[] | undefined;
  /** Undefined: the body is too long to keep, or needed no more. */
  #kept: KeptBody | undefined = new KeptBody();
  #requestWhole: boolean;
  /** Of the body: `waits` for room on its way; `stands`: it waited already when it was last looked at. */
  #upload: 'flows' | 'waits' | 'stands' = 'flows';
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
    return this.#chosen?.endpoint.id;
  }

  /** Tries so far. */
  get attempts(): number {
    return this.#attempt;
  }

  start(): void {
    this.#destination.enter(this.#times.beganMs);
    this.#try(this.#times.beganMs);
  }

  /** Sends more of the request's body. @returns false: pause until `requestDrained` */
  sendBody(data: Buffer): boolean {
    if (this.#phase === 'done') return true;
    if (this.#kept !== undefined) {
      this.#kept.keep(data);
      // Without a stream the bytes must be kept whatever their size; they are bounded because the caller pauses.
      if (this.#stream !== undefined) this.#kept = this.#kept.within(this.#policy.retries.maxBodyBytes);
    }
    if (this.#stream === undefined) return this.#kept?.full === false;
    const more = this.#stream.body(data);
    if (!more) this.#upload = 'waits';
    return more;
  }

  /** All of the body has been sent. */
  endBody(trailers?: HeaderFields): void {
    this.#requestWhole = true;
    this.#trailers = trailers;
    this.#stream?.finish(trailers);
    if (this.#times.wait() && (this.#phase === 'opening' || this.#phase === 'waiting'))
      this.#times.after(this.#times.beginTry(), () => this.#onTimeout());
  }

  /** The caller went away: nobody waits for the answer, and nobody is to blame. */
  cancel(): void {
    if (this.#phase === 'done') return;
    // A call that has begun to speak was answered well enough.
    if (this.#call === 'silent') this.#ticket?.cancelled();
    else if (this.#ticket !== undefined) this.#settle(true);
    this.#finish();
    this.#stream?.discard();
  }

  pauseAnswer(): void {
    this.#stream?.pause();
  }

  resumeAnswer(): void {
    this.#stream?.resume();
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
    else this.#times.stop();
    this.#owner.answerHead(head);
  }

  /** Settles the ticket by what the head says, where it says enough. @returns whether another try takes its place */
  #retries(meaning: AnswerMeaning): boolean {
    if (meaning.kind === 'open') {
      this.#ticket?.answered();
      return false;
    }
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
    if (this.#ticket !== undefined && this.#call === 'silent') {
      this.#call = 'spoke';
      this.#ticket.answered();
    }
    this.#owner.answerBody(chunk);
  }

  onFlush(): void {
    if (this.#phase === 'answering') this.#owner.answerFlush();
  }

  onComplete(trailers?: HeaderFields): void {
    const stream = this.#stream;
    if (this.#ticket !== undefined) {
      if (this.#call === 'silent') this.#ticket.answered();
      this.#settle(!this.#destination.isFailure(statusAtEnd(trailers)));
    }
    this.#finish();
    if (this.#requestWhole) stream?.release();
    else stream?.discard();
    this.#owner.answerComplete(trailers);
  }

  onUpgraded(head: ResponseHead, stream: ByteStream): void {
    this.#times.stop();
    this.#settle(true);
    this.#phase = 'answering';
    this.#stream = undefined;
    this.#kept = undefined;
    this.#owner.answerUpgraded(head, stream);
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
    this.#upload = 'flows';
    this.#owner.requestDrained();
  }

  #try(nowMs: number): void {
    this.#phase = 'opening';
    const mayTakeMs = this.#times.beginTry(nowMs);
    if (mayTakeMs <= 0) {
      this.#fail({ code: 'SLV-4004', reason: 'the time that the caller gave is over' });
      return;
    }
    this.#attempt += 1;
    const choice = this.#destination.choose(this.#tried, this.#policy.perTryTimeoutMs, this.#hash, nowMs);
    if (choice.kind === 'none') {
      this.#fail({ code: 'SLV-4002', reason: `no healthy instance of ${this.#destination.name} is known` });
      return;
    }
    if (choice.kind === 'open') {
      this.#fail({ code: 'SLV-4003', reason: `the breaker of each instance of ${this.#destination.name} is open` });
      return;
    }
    if (choice.kind === 'full') {
      this.#fail({ code: 'SLV-4006', reason: `${choice.most} calls to ${this.#destination.name} are in flight` });
      return;
    }
    const { endpoint, ticket } = choice;
    this.#chosen = choice;
    this.#ticket = ticket;
    this.#times.after(mayTakeMs, () => this.#onTimeout());
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
    const begun = stream.begin(this, this.#times.withTimeLeft(this.#request));
    const more = this.#kept?.sendTo(stream) ?? begun;
    if (this.#requestWhole) stream.finish(this.#trailers);
    this.#kept = this.#kept?.within(this.#policy.retries.maxBodyBytes);
    this.#upload = more ? 'flows' : 'waits';
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

  /** A gRPC call goes on behind its head: to its end, by which it is judged; and no longer than its caller said. */
  #watchCall(): void {
    const { callMs, tryLeftMs } = this.#times;
    this.#times.after(this.#call === 'lasts' ? callMs : Math.min(callMs, tryLeftMs), () => this.#onCallTimer());
  }

  #onCallTimer(): void {
    // Its own timer may be a little early.
    if (this.#times.callMs > 1) {
      // It streams: that it was answered is a success, whatever comes of it.
      this.#call = 'lasts';
      this.#chosen?.target.note(this.#chosen.endpoint, true);
      this.#ticket?.lasts('answered');
      this.#watchCall();
      return;
    }
    if (this.#ticket !== undefined) this.#settle(this.#call !== 'silent');
    const stream = this.#stream;
    this.#finish();
    stream?.discard();
    this.#owner.answerCut('SLV-4004', 'the time that the caller gave is over');
  }

  #onTimeout(): void {
    // An application of HTTP/1.1 that takes none of an upload for as long as a try may take hangs. In a conversation it may be waiting for something else.
    const hangs = this.#upload === 'stands' && this.#request.http2 === undefined;
    if (this.#times.takesItsTime && this.#phase === 'waiting' && !hangs) {
      // An upload or a conversation: no breaker is to wait for its end, nor a probe.
      this.#ticket?.lasts('waiting');
      if (this.#upload === 'waits') this.#upload = 'stands';
      this.#times.after(this.#times.nextLookMs, () => this.#onTimeout());
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
    this.#backoffMs = this.#destination.backoff(this.#policy.retries, this.#attempt);
    return this.#destination.mayRetry(this.#policy.retries, {
      failed,
      answerBegan: this.#answerBegan,
      method: this.#request.method,
      attempt: this.#attempt,
      bodyReplayable: this.#kept !== undefined,
      // What would come too late is not waited for.
      remainingMs: this.#times.leftMs - this.#backoffMs,
    });
  }

  /** Nobody wants this answer. When the rest of it came along with its head, its stream can be used again. */
  #retryInstead(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream !== undefined) {
      if (this.#requestWhole) stream.sink = unread(stream);
      else stream.discard();
    }
    this.#scheduleRetry();
  }

  #scheduleRetry(): void {
    this.#leaveEndpoint();
    this.#phase = 'backing-off';
    this.#times.after(this.#backoffMs, () => this.#try(this.#destination.now()));
  }

  #settle(success: boolean): void {
    this.#chosen?.target.note(this.#chosen.endpoint, success);
    if (success) this.#ticket?.success();
    else this.#ticket?.failure();
    this.#ticket = undefined;
  }

  #leaveEndpoint(): void {
    if (this.#chosen === undefined) return;
    const { target, endpoint } = this.#chosen;
    target.leave(endpoint);
    this.#tried ??= [];
    this.#tried.push(endpoint);
    this.#chosen = undefined;
  }

  #fail(failure: ExchangeFailure): void {
    this.#finish();
    this.#owner.answerFailed(failure);
  }

  #finish(): void {
    if (this.#phase === 'done') return;
    this.#phase = 'done';
    this.#times.stop();
    this.#cancelOpen?.();
    this.#cancelOpen = undefined;
    this.#ticket = undefined;
    this.#kept = undefined;
    this.#chosen?.target.leave(this.#chosen.endpoint);
    this.#destination.leave();
  }
}
