import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { ByteStream } from './byte-stream.ts';
import { errorBody, errorHeaders } from './http1/error-response.ts';
import { type Refusal, refusalOf, refuseRequest } from './http1/fault.ts';
import type { RequestHead, ResponseHead } from './http1/message.ts';
import { grpcMessage, grpcStatusOf, httpStatusOf } from './http2/grpc.ts';
import { looksLikeGrpc, readRequest } from './http2/request-rules.ts';
import { newWebSocketKey, webSocketAccept, webSocketAcceptOf, webSocketKey } from './http2/websocket.ts';
import { answerFields, passedTrailers } from './http2/wire-fields.ts';
import type { IdleGuard } from './idle-sweep.ts';
import type { AskedConnection, RequestSink, ServerStream, ServingContext } from './server-stream.ts';
import type { TunnelRequest } from './tunnel/tunnel.ts';
import type { HeaderFields, InboundTunnelStream, TunnelStreamHandlers } from './tunnel/tunnel-stream.ts';
import { tunnelByteStream } from './tunnel-byte-stream.ts';

/** What a caller that went away is counted as (nginx). */
const callerGone = 499;
/** How long the answer to a CONNECT that came to nothing may take to leave, ms. */
const farewellMs = 2_000;

/** How the requests of a connection are served, beyond what all are. */
export interface Http2ServerOptions {
  /** IP address of the caller, where its connection is one of its own. */
  readonly peerAddress?: string | undefined;
  /** CONNECT is taken. */
  readonly allowConnect?: boolean | undefined;
}

const plain: Http2ServerOptions = {};

/**
 * The server's side of one HTTP/2 request: strict heads in, the answer out, with back-pressure and trailers; the opening of a WebSocket (RFC 8441) as the Upgrade
 * that it is in HTTP/1.1. A refusal of a gRPC call is a `grpc-status`. Who answers, and whether at all, is its sink's business.
 */
export class Http2ServerStream implements ServerStream, TunnelStreamHandlers {
  readonly version = 2;
  request: RequestHead | undefined;
  requestWhole = false;
  readonly peerAddress: string | undefined;
  readonly #stream: InboundTunnelStream;
  readonly #context: ServingContext;
  readonly #sink: RequestSink;
  #guard: IdleGuard;
  readonly #grpc: boolean;
  /** A CONNECT of either kind: nothing of it is delivered before it is accepted, so that its head is the whole request. */
  readonly #connect: boolean;
  /** Of the WebSocket that it asks for, towards HTTP/1.1. */
  #key: string | undefined;
  readonly #startedMs = performance.now();
  /** `ending`: answered, and not all of it sent; `over`: nothing more is called. */
  #phase: 'open' | 'ending' | 'over' = 'open';
  #paused = false;
  /** Of the head that went down; 0: none yet. */
  #status = 0;
  /** A head without a body: it waits for `complete`, to be the whole answer. */
  #wholeHead: HeaderFields | undefined;
  #grpcStatus: string | undefined;
  /** Bytes of the request's body that are still to come; undefined: it was not said how many. */
  #left: number | undefined;
  #trailers: HeaderFields | undefined;

  /** @param serve who serves it */
  constructor(
    stream: InboundTunnelStream,
    offered: TunnelRequest,
    context: ServingContext,
    idleTimeoutMs: number,
    serve: (server: ServerStream) => RequestSink,
    { peerAddress, allowConnect }: Http2ServerOptions = plain,
  ) {
    this.peerAddress = peerAddress;
    this.#stream = stream;
    this.#context = context;
    this.#connect = offered.method === 'CONNECT';
    this.#grpc = !this.#connect && looksLikeGrpc(offered.headers);
    this.#guard = context.sweep.guard(idleTimeoutMs, () => this.#giveUp());
    this.#sink = serve(this);
    stream.handlers = this;
    const head = readRequest(offered, allowConnect);
    if ('reason' in head) {
      this.refuse(refuseRequest(head));
      return;
    }
    const request = head.upgrade === undefined ? head : this.#withKey(head);
    this.request = request;
    this.#left = head.framing.kind === 'length' ? head.framing.bytes : undefined;
    this.#sink.onRequest(request);
    // What its sink paused meanwhile stays so.
    if (!this.#paused) this.#readOn();
  }

  get answering(): boolean {
    return this.#status !== 0;
  }

  /** Refuses it before, or while, it is served: it breaks a rule. */
  refuse(refusal: Refusal): void {
    const decision = this.#sink.onRequestRefused(refusal);
    if (this.answering) this.cut(refusal.code, refusal.reason, decision);
    else this.error(refusal, decision);
  }

  pauseRequest(): void {
    if (this.requestWhole) return;
    this.#paused = true;
    this.#stream.pause();
  }

  resumeRequest(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#readOn();
  }

  sendContinue(): void {
    this.#stream.inform(100, []);
  }

  informational(head: ResponseHead, headers: readonly string[]): void {
    if (head.status !== 100) this.#stream.inform(head.status, answerFields(headers));
  }

  head(head: ResponseHead, headers: readonly string[]): void {
    if (this.#phase !== 'open') return;
    if (this.#key !== undefined && head.status < 300) {
      // It would say that the WebSocket is open (RFC 8441 4).
      this.refuse(badHandshake);
      return;
    }
    this.#status = head.status;
    const fields = answerFields(headers, head.contentLength);
    if (this.#grpc) this.#grpcStatus = fieldOf(fields, 'grpc-status');
    const { framing } = head;
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.bytes === 0)) this.#wholeHead = fields;
    else this.#stream.answer(head.status, fields);
  }

  body(chunk: Buffer): boolean {
    this.#guard.touched = true;
    return this.#stream.write(chunk);
  }

  flush(): void {}

  complete(trailers?: HeaderFields): void {
    if (this.#phase !== 'open') return;
    const passed = trailers === undefined ? undefined : passedTrailers(trailers);
    if (this.#grpc && passed !== undefined) this.#grpcStatus = fieldOf(passed, 'grpc-status') ?? this.#grpcStatus;
    const status = this.#grpcStatus === undefined ? this.#status : httpStatusOf(this.#grpcStatus);
    const whole = this.#wholeHead;
    if (whole !== undefined && (passed === undefined || passed.length === 0)) {
      this.#close(status, () => this.#stream.refuse(this.#status, whole));
      return;
    }
    if (whole !== undefined) this.#stream.answer(this.#status, whole);
    this.#finish(status, () => this.#stream.end(passed));
  }

  error(refusal: Refusal, decision: string | undefined, headers: readonly string[] = []): void {
    if (this.#phase !== 'open') return;
    const { status, reason } = refusal;
    if (this.#grpc) {
      const fields = [contentTypeOfGrpc, ...this.#grpcFields(refusal.code, reason, decision), ...answerFields(headers)];
      this.#close(status, () => this.#stream.refuse(200, fields), reason, decision);
      return;
    }
    if (this.request?.method === 'HEAD') {
      const fields = answerFields(errorHeaders(decision, headers), errorBody(refusal, decision).length);
      this.#close(status, () => this.#stream.refuse(status, fields), reason, decision);
      return;
    }
    this.#finish(status, () => this.#sendError(refusal, decision, headers), reason, decision);
  }

  upgrade(head: ResponseHead, headers: readonly string[]): ByteStream | undefined {
    const fields = answerFields(headers);
    if (this.#key === undefined || fieldOf(fields, webSocketAccept) !== webSocketAcceptOf(this.#key)) {
      this.refuse(badHandshake);
      return undefined;
    }
    const passed = fields.filter(([name]) => name !== webSocketAccept);
    this.#stream.answer(200, passed);
    this.#status = head.status;
    this.#sink.onAnswered(head.status, performance.now() - this.#startedMs);
    return this.handOver().bytes;
  }

  handOver(): AskedConnection {
    const stream = this.#stream;
    const bytes = tunnelByteStream(stream, this.peerAddress, this.#key === undefined ? 'connect' : 'cancel');
    this.request = undefined;
    this.#release();
    return {
      bytes,
      accept: () => stream.answer(200, []),
      refuse: (refusal, decision) => {
        stream.handlers = this;
        this.#phase = 'ending';
        this.#guard = this.#context.sweep.guard(farewellMs, () => this.#giveUp());
        this.#sendError(refusal, decision, []);
      },
    };
  }

  cut(code: ErrorCode, reason: string, decision?: string): void {
    if (this.#phase !== 'open') return;
    this.#close(
      this.#status || callerGone,
      () => {
        if (this.#grpc && this.answering) this.#stream.breakOff(this.#grpcFields(code, reason, decision));
        else this.#stream.reset('internal');
      },
      reason,
      decision,
    );
  }

  // TunnelStreamHandlers: what the caller sends.

  onData(chunk: Buffer): void {
    this.#guard.touched = true;
    if (this.#phase !== 'open') return;
    if (this.#left !== undefined) {
      this.#left -= chunk.length;
      if (this.#left < 0) {
        this.#malformed('the body is longer than announced');
        return;
      }
    }
    this.#sink.onRequestBody(chunk);
  }

  onTrailers(fields: HeaderFields): void {
    this.#trailers = passedTrailers(fields);
  }

  onEnd(): void {
    if (this.#phase === 'open' && this.#left !== undefined && this.#left > 0) {
      this.#malformed('the body is shorter than announced');
      return;
    }
    this.requestWhole = true;
    if (this.#phase === 'open') this.#sink.onRequestWhole(this.#trailers);
  }

  onDrain(): void {
    this.#guard.touched = true;
    if (this.#phase === 'open') this.#sink.onAnswerDrain();
  }

  onFinish(): void {
    // What still comes is read by nobody: the caller is told so, without blame (RFC 9113 8.1).
    if (!this.requestWhole || this.#connect) this.#stream.reset('answered');
    this.#release();
  }

  onReset(): void {
    this.#end('the caller went away');
  }

  // Inside.

  /** RFC 9113 8.1.1: the stream ends with an error, whatever had been said. */
  #malformed(reason: string): void {
    const refusal = refuseRequest({ kind: 'framing', reason });
    const decision = this.#sink.onRequestRefused(refusal);
    this.#close(refusal.status, () => this.#stream.reset('protocol'), reason, decision);
  }

  #grpcFields(code: ErrorCode, reason: string, decision: string | undefined): (readonly [string, string])[] {
    return [
      ['grpc-status', String(grpcStatusOf(code))],
      ['grpc-message', grpcMessage(`${code}: ${reason}`)],
      ...(decision === undefined ? [] : [['selvedge-decision', decision] as const]),
    ];
  }

  #sendError(refusal: Refusal, decision: string | undefined, headers: readonly string[]): void {
    const body = errorBody(refusal, decision);
    this.#stream.answer(refusal.status, answerFields(errorHeaders(decision, headers), body.length));
    this.#stream.write(body);
    this.#stream.end();
  }

  #giveUp(): void {
    this.#stream.reset('cancel');
    this.#end('idle timeout');
  }

  /** It is over before it was answered wholly. */
  #end(reason: string): void {
    if (this.#phase === 'open') this.#answered(this.#status || callerGone, reason);
    this.#release();
  }

  /** A GET with Upgrade as HTTP/1.1 would have it (RFC 6455 4.1). */
  #withKey(head: RequestHead): RequestHead {
    this.#key = newWebSocketKey(this.#context.randomBytes);
    return { ...head, headers: [...head.headers, webSocketKey, this.#key] };
  }

  #readOn(): void {
    if (!this.#connect) this.#stream.resume();
    else if (this.#phase === 'open' && !this.requestWhole) {
      this.requestWhole = true;
      this.#sink.onRequestWhole();
    }
  }

  /** Answered; what waits is still to be sent. */
  #finish(status: number, send: () => void, reason?: string, decision?: string): void {
    this.#phase = 'ending';
    send();
    this.#answered(status, reason, decision);
  }

  /** Answered, and over. */
  #close(status: number, send: () => void, reason?: string, decision?: string): void {
    this.#phase = 'ending';
    send();
    this.#answered(status, reason, decision);
    this.#release();
  }

  #answered(status: number, reason?: string, decision?: string): void {
    if (this.#phase === 'open') this.#phase = 'ending';
    this.#sink.onAnswered(status, performance.now() - this.#startedMs, reason, decision);
    this.request = undefined;
    this.#sink.onClosed();
  }

  #release(): void {
    this.#phase = 'over';
    this.#context.sweep.release(this.#guard);
  }
}

const badHandshake = refusalOf(
  'SLV-4005',
  'asked for a WebSocket, the application neither opened it as RFC 6455 says nor refused it',
);

const contentTypeOfGrpc = ['content-type', 'application/grpc'] as const;

function fieldOf(fields: HeaderFields, name: string): string | undefined {
  return fields.find(([other]) => other === name)?.[1];
}
