import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { type ByteStream, withRest } from './byte-stream.ts';
import { endWithFarewell } from './farewell.ts';
import { HeadDeadline } from './head-deadline.ts';
import { encodeError } from './http1/error-response.ts';
import type { Refusal } from './http1/fault.ts';
import {
  connectionTowards,
  continueResponse,
  encodeAnswer,
  encodeResponseHead,
  framingTowards,
} from './http1/head-encoder.ts';
import type { Http1Limits } from './http1/limits.ts';
import type { RequestHead, ResponseHead } from './http1/message.ts';
import { RequestDecoder, type RequestHandlers } from './http1/request-decoder.ts';
import { http2Preface } from './http1/request-head.ts';
import type { IdleGuard } from './idle-sweep.ts';
import { MessageWriter } from './message-writer.ts';
import type { AskedConnection, Drainable, RequestSink, ServerStream, ServingContext } from './server-stream.ts';
import { farewellInHttp2 } from './tunnel/frame-writer.ts';
import { errorCode } from './tunnel/http2.ts';

/** Bytes of pipelined requests held while one is answered: more waits in the stream. */
const maxHeldBytes = 65_536;
/** How long a stream is still read after its last answer has left. */
const lingerMs = 2_000;
/**
 * The body of a request that was answered before it was whole is read on and dropped, so that the next request can follow: of so many bytes, as Go's net/http does, and for so
 * long, as nginx does. Were the connection closed instead, a caller whose body comes slowly would cost a handshake for each answer.
 */
const maxDroppedBytes = 262_144;
const maxDroppingMs = 30_000;
/**
 * A caller that has ended its side may still read (`nc -N`), or be gone (a destroyed socket of node:http says no more than that): only writing to it tells. nginx and Envoy take
 * the second for granted. Here it has this long without a byte moving; then it is let go, so that it holds no place in a bulkhead and no half-open breaker's probe.
 */
const halfClosedMs = 2_000;
/** What a caller that went away is counted as (nginx). */
const callerGone = 499;

/**
 * The server's side of HTTP/1.1 on one byte stream: strict requests in, answers out in order, with back-pressure, keep-alive, half-close, upgrade and a lingering
 * end. Who answers, and whether at all, is its sink's business.
 */
export class HttpServerStream implements ServerStream, Drainable {
  readonly version = 1;
  before: Drainable | undefined;
  after: Drainable | undefined;
  linkedIn: object | undefined;
  ofUpstream: Drainable['ofUpstream'];
  readonly #stream: ByteStream;
  readonly #context: ServingContext;
  readonly #sink: RequestSink;
  readonly #idleTimeoutMs: number;
  readonly #decoder: RequestDecoder;
  readonly #writer: MessageWriter;
  readonly #headDeadline: HeadDeadline;
  #guard: IdleGuard;
  #phase: 'http' | 'ended' = 'http';
  /** Under way: not wholly answered. */
  #request: RequestHead | undefined;
  #requestWhole = false;
  /** Of the head that went down; 0: none yet. */
  #status = 0;
  #startedMs = 0;
  /** The sink takes no more of the body for now. */
  #bodyPaused = false;
  /** The rest of an answered request is dropped: bounds its time. */
  #dropping: IdleGuard | undefined;
  #droppedBytes = 0;
  /** The present answer is the last. */
  #last = false;
  /** The caller has said that it sends nothing behind this request (RFC 9112 9.6). */
  #callerDone = false;
  #callerEnded = false;

  /**
   * @param serve  who serves its requests
   * @param limits where they are not those of every request
   */
  constructor(
    stream: ByteStream,
    context: ServingContext,
    idleTimeoutMs: number,
    serve: (server: ServerStream) => RequestSink,
    limits: Partial<Http1Limits> = {},
  ) {
    this.#stream = stream;
    this.#context = context;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#writer = new MessageWriter(stream);
    const handlers: RequestHandlers = {
      onHead: (head) => this.#onHead(head),
      onBody: (chunk) => {
        if (this.#request !== undefined) this.#sink.onRequestBody(chunk);
        else this.#drop(chunk.length);
      },
      onComplete: () => this.#onWhole(),
      onRefusal: (refusal) => this.#onRefusal(refusal),
    };
    // Of underscores its sink judges, by what the service says of them.
    this.#decoder = new RequestDecoder(handlers, { ...limits, allowUnderscores: true });
    this.#guard = context.sweep.guard(idleTimeoutMs, () => stream.destroy());
    this.#headDeadline = new HeadDeadline(context.sweep, (refusal) => this.#onRefusal(refusal));
    context.serving.add(this);
    stream.handlers = {
      onData: (chunk) => {
        this.#guard.touched = true;
        this.#decoder.execute(chunk);
        this.#headDeadline.watch(this.#decoder.withinHead);
        if (this.#decoder.heldBytes > maxHeldBytes) stream.pause();
      },
      onEnd: () => this.#onCallerEnd(),
      onDrain: () => {
        this.#guard.touched = true;
        this.#sink.onAnswerDrain();
      },
      onClose: () => this.#onClose(),
    };
    this.#sink = serve(this);
  }

  /** IP address of the caller, where it has a connection of its own. */
  get peerAddress(): string | undefined {
    return this.#stream.peerAddress;
  }

  /** The request that is not wholly answered. */
  get request(): RequestHead | undefined {
    return this.#request;
  }

  /** All of the request has come. */
  get requestWhole(): boolean {
    return this.#requestWhole;
  }

  /** The head of the answer has gone down: nothing can be said any more but by cutting. */
  get answering(): boolean {
    return this.#status !== 0;
  }

  /** No `onRequestBody` until `resumeRequest`. */
  pauseRequest(): void {
    // A whole request is no load on anyone; the pause that holds back the next one is not the sink's to end.
    if (this.#requestWhole) return;
    this.#bodyPaused = true;
    this.#stream.pause();
    this.#decoder.pause();
  }

  resumeRequest(): void {
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    // What is held comes first, and may fill the sink again: then the stream stays as it is.
    this.#decoder.resume();
    if (!this.#bodyPaused) this.#stream.resume();
  }

  /** `100 Continue`. */
  sendContinue(): void {
    this.#stream.write(continueResponse);
  }

  /** A 1xx of the application. 100 is ours to say, and HTTP/1.0 knows none. */
  informational(head: ResponseHead, headers: readonly string[]): void {
    if (this.#request?.minorVersion !== 1 || head.status === 100) return;
    this.#stream.write(encodeResponseHead(head.status, head.reason, headers, { kind: 'none' }));
  }

  /** @param headers of the answer, without those of the hop */
  head(head: ResponseHead, headers: readonly string[]): void {
    const request = this.#request;
    if (request === undefined) return;
    this.#status = head.status;
    const framing = framingTowards(request, head);
    const connection = connectionTowards(request, framing, !this.#last && !this.#context.draining());
    if (connection === 'close') this.#last = true;
    this.#writer.head(encodeAnswer(head, headers, framing, connection), framing);
  }

  /** @returns false: pause until `onAnswerDrain` */
  body(chunk: Buffer): boolean {
    this.#guard.touched = true;
    return this.#writer.body(chunk);
  }

  /** What came at once has been written. */
  flush(): void {
    this.#writer.flush();
  }

  /** The answer is whole. */
  complete(): void {
    this.#writer.finish();
    if (!this.#requestWhole && !this.#mayDropRest()) this.#last = true;
    this.#answered(this.#status);
    this.#next();
  }

  /** An answer of our own. The stream goes on behind the rest of the request. */
  error(refusal: Refusal, decision: string | undefined, headers: readonly string[] = []): void {
    const request = this.#request;
    // What breaks the rules of heads is the last of its connection, whoever noticed.
    if (refusal.code === 'SLV-4201') this.#last = true;
    const keepAlive =
      !this.#last &&
      request !== undefined &&
      (this.#requestWhole || this.#mayDropRest()) &&
      request.keepAlive &&
      request.minorVersion === 1 &&
      !this.#context.draining();
    if (!keepAlive) this.#last = true;
    this.#stream.write(encodeError(refusal, decision, { headRequest: request?.method === 'HEAD', keepAlive, headers }));
    this.#answered(refusal.status, refusal.reason, decision);
    this.#next();
  }

  /** 101, and the connection becomes somebody else's, as by `handOver`. */
  upgrade(head: ResponseHead, headers: readonly string[]): ByteStream {
    this.#status = head.status;
    this.#stream.write(
      encodeResponseHead(head.status, head.reason, headers, { kind: 'none' }, { upgrade: head.upgrade ?? '' }),
    );
    this.#answered(head.status);
    return this.handOver().bytes;
  }

  handOver(): AskedConnection {
    this.#phase = 'ended';
    this.#request = undefined;
    this.#context.sweep.release(this.#guard);
    this.#context.serving.delete(this);
    this.#stream.pause();
    const bytes = withRest(this.#stream, this.#decoder.takeRest(), this.#callerEnded);
    return {
      bytes,
      accept: () => {
        bytes.write(encodeResponseHead(200, 'OK', [], { kind: 'none' }));
      },
      refuse: (refusal, decision) => endWithFarewell(bytes, this.#context.sweep, encodeError(refusal, decision)),
    };
  }

  /** Breaks the connection: half an answer has gone down, and only that tells the caller so. */
  cut(_code: ErrorCode, reason: string, decision?: string): void {
    if (this.#phase === 'http' && this.#request !== undefined)
      this.#answered(this.#status || callerGone, reason, decision);
    this.#request = undefined;
    this.#decoder.pause();
    this.#stream.reset();
  }

  /** Ends the stream when nothing is under way; else it ends after the answer. */
  drain(): void {
    if (this.#phase !== 'http') return;
    if (this.#request === undefined && (this.#decoder.idle || this.#dropping !== undefined)) this.#end();
    else this.#last = true;
  }

  /** What is left of the answered request can be read and dropped, to where the next one begins. Who has asked whether to send it at all may do either (RFC 9110 10.1.1). */
  #mayDropRest(): boolean {
    if (this.#request === undefined) return false;
    const { framing, expectContinue } = this.#request;
    if (framing.kind !== 'length') return framing.kind === 'none' || !expectContinue;
    return framing.bytes <= (expectContinue ? this.#decoder.heldBytes : maxDroppedBytes);
  }

  #beginDropping(): void {
    this.#droppedBytes = 0;
    this.#dropping = this.#context.sweep.guard(maxDroppingMs, () => this.#end());
  }

  #drop(bytes: number): void {
    this.#droppedBytes += bytes;
    if (this.#droppedBytes > maxDroppedBytes) this.#end();
  }

  #endDropping(): void {
    this.#headDeadline.watch(false);
    if (this.#dropping !== undefined) this.#context.sweep.release(this.#dropping);
    this.#dropping = undefined;
  }

  #onHead(head: RequestHead): void {
    this.#request = head;
    this.#requestWhole = false;
    this.#callerDone = !head.keepAlive;
    this.#startedMs = performance.now();
    this.#sink.onRequest(head);
  }

  #onWhole(): void {
    this.#requestWhole = true;
    this.#endDropping();
    if (this.#request === undefined) {
      if (this.#last || this.#context.draining()) this.#end();
      return;
    }
    // The next request, if one is pipelined, waits for the answer to this one.
    this.#decoder.pause();
    this.#sink.onRequestWhole();
  }

  #onRefusal(refusal: Refusal): void {
    // It was answered.
    if (this.#dropping !== undefined) {
      this.#end();
      return;
    }
    if (this.#request === undefined) this.#startedMs = performance.now();
    this.#last = true;
    const decision = this.#sink.onRequestRefused(refusal);
    if (refusal.reason === http2Preface.reason) this.#refuseHttp2(refusal, decision);
    else if (this.#status === 0) this.error(refusal, decision);
    else this.cut(refusal.code, refusal.reason, decision);
  }

  /** Says in HTTP/2 that it is not spoken here: text would be noise to such a client. */
  #refuseHttp2(refusal: Refusal, decision: string): void {
    this.#stream.write(
      farewellInHttp2(errorCode.http11Required, `${refusal.code}: ${refusal.reason} (decision ${decision})`),
    );
    this.#answered(refusal.status, refusal.reason, decision);
    this.#next();
  }

  /** After an answer: the next request of this stream, or its end. */
  #next(): void {
    this.#request = undefined;
    this.#status = 0;
    this.#bodyPaused = false;
    if (this.#last || this.#context.draining()) {
      this.#end();
      return;
    }
    if (!this.#requestWhole) this.#beginDropping();
    this.#decoder.resume();
    this.#headDeadline.watch(this.#decoder.withinHead);
    if (!this.#bodyPaused) this.#stream.resume();
    this.#endBehindCaller();
  }

  /** The caller sends no more, but may still read: what it has sent is answered first. */
  #onCallerEnd(): void {
    this.#callerEnded = true;
    this.#decoder.end();
    this.#endBehindCaller();
    if (this.#phase !== 'ended') this.#watch(Math.min(halfClosedMs, this.#idleTimeoutMs), () => this.#stream.destroy());
  }

  #endBehindCaller(): void {
    if (this.#callerEnded && this.#request === undefined && this.#decoder.spent) this.#end();
  }

  /**
   * No more from our side. What still comes is read and dropped for a while: a socket closed with unread bytes would take the answer back (RFC 9112 9.6). Not so
   * where the caller has asked for the end, and has sent nothing behind that: to wait for its own costs two system calls and a turn of the event loop.
   */
  #end(): void {
    if (this.#phase === 'ended') return;
    this.#endDropping();
    const nothingFollows =
      this.#phase === 'http' && this.#callerDone && this.#requestWhole && this.#decoder.heldBytes === 0;
    this.#phase = 'ended';
    this.#decoder.pause(); // a request that is pipelined behind the last answer is not served
    const stream = this.#stream;
    stream.handlers = { onData() {}, onEnd() {}, onDrain() {}, onClose: () => this.#onClose() };
    this.#watch(lingerMs, () => {
      if (stream.flushed) stream.destroy();
      // The answer is still on its way to a slow reader.
      else this.#watch(this.#idleTimeoutMs, () => stream.destroy());
    });
    if (nothingFollows && stream.close !== undefined) stream.close();
    else stream.end();
    stream.resume();
  }

  #watch(timeoutMs: number, onIdle: () => void): void {
    this.#context.sweep.release(this.#guard);
    this.#guard = this.#context.sweep.guard(timeoutMs, onIdle);
  }

  #onClose(): void {
    this.#endDropping();
    this.#context.sweep.release(this.#guard);
    this.#context.serving.delete(this);
    if (this.#phase === 'http' && this.#request !== undefined)
      this.#answered(this.#status || callerGone, 'the caller went away');
    this.#phase = 'ended';
    this.#request = undefined;
    this.#sink.onClosed();
  }

  #answered(status: number, reason?: string, decision?: string): void {
    this.#sink.onAnswered(status, performance.now() - this.#startedMs, reason, decision);
  }
}
