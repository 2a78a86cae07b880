import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { RandomBytes } from '#runtime/clock.ts';
import type { ByteStream } from './byte-stream.ts';
import type { Refusal } from './http1/fault.ts';
import type { RequestHead, ResponseHead } from './http1/message.ts';
import type { IdleSweep } from './idle-sweep.ts';
import type { Linked, Place } from './linked-set.ts';
import type { HeaderFields } from './tunnel/tunnel-stream.ts';

/** Who serves the requests of a stream, one after the other: the next comes when the last has been answered. */
export interface RequestSink {
  /** A request begins. It is answered by `head` … `complete`, `error` or `upgrade`, now or later. */
  onRequest(head: RequestHead): void;
  /** Bytes of its body. Not called once the request has been answered. */
  onRequestBody(chunk: Buffer): void;
  /** @param trailers of HTTP/2; those of HTTP/1.1 are dropped */
  onRequestWhole(trailers?: HeaderFields): void;
  /** The request broke the rules, or off: let go of what is under way for it. @returns the decision id that the answer is to carry */
  onRequestRefused(refusal: Refusal): string;
  /** After `body` answered false: write on. */
  onAnswerDrain(): void;
  /** A request is done with; once for each. `reason` where it was not the application's own whole answer. */
  onAnswered(status: number, durationMs: number, reason?: string, decision?: string): void;
  /** The stream is gone; once, last. Not called of one that was upgraded: it is the sink's. */
  onClosed(): void;
}

/** A connection that was asked for by CONNECT. */
export interface AskedConnection {
  /** Paused until resumed, with what has come behind the request. */
  readonly bytes: ByteStream;
  /** It has come about: 200, and bytes follow. */
  accept(): void;
  /** It has come to nothing; ends it. */
  refuse(refusal: Refusal, decision: string): void;
}

/** The server's side of HTTP, of whatever version, on one stream: hands requests to a sink and takes their answers. */
export interface ServerStream {
  /** Of HTTP: with 1 a stream is a connection that carries one request after the other, with 2 a stream is one request. */
  readonly version: 1 | 2;
  /** IP address of the caller, where its connection is one of its own. */
  readonly peerAddress?: string | undefined;
  /** The request that is not wholly answered. */
  readonly request: RequestHead | undefined;
  /** All of the request has come. */
  readonly requestWhole: boolean;
  /** The head of the answer has gone down: nothing can be said any more but by cutting. */
  readonly answering: boolean;
  /** No `onRequestBody` until `resumeRequest`. */
  pauseRequest(): void;
  resumeRequest(): void;
  /** `100 Continue`. */
  sendContinue(): void;
  /** A 1xx of the application. 100 is ours to say. */
  informational(head: ResponseHead, headers: readonly string[]): void;
  /** @param headers of the answer, without those of the hop */
  head(head: ResponseHead, headers: readonly string[]): void;
  /** @returns false: pause until `onAnswerDrain` */
  body(chunk: Buffer): boolean;
  /** What came at once has been written. */
  flush(): void;
  /** The answer is whole. */
  complete(trailers?: HeaderFields): void;
  /** An answer of our own. */
  error(refusal: Refusal, decision: string | undefined, headers?: readonly string[]): void;
  /** 101, and the stream is whoever's calls, as by `handOver`. Undefined: it is not what was asked for, and the request was refused instead. */
  upgrade(head: ResponseHead, headers: readonly string[]): ByteStream | undefined;
  /** What a CONNECT asked for becomes somebody else's, as its answer and its end do. The sink hears no more. */
  handOver(): AskedConnection;
  /** Half an answer has gone down, and only breaking off tells the caller so; but gRPC, which has a status at the end for `code`. */
  cut(code: ErrorCode, reason: string, decision?: string): void;
}

/** Something that ends once nothing is under way on it: now, or after what is. */
export interface Drainable extends Linked<Drainable> {
  /** Among the connections of its upstream; absent: it is of none. The upstream's. */
  ofUpstream?: Place<Drainable> | undefined;
  drain(): void;
}

/** Where streams are known while they are open, to whoever may drain them. */
export interface ServingSet {
  add(stream: Drainable): void;
  delete(stream: Drainable): void;
}

/** What a stream and its neighbours share. */
export interface ServingContext {
  readonly sweep: IdleSweep;
  /** All open streams, to be drained. */
  readonly serving: ServingSet;
  readonly randomBytes: RandomBytes;
  /** True once the proxy drains: streams end after the answer under way. */
  draining(): boolean;
}
