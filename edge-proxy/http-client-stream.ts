import { type ByteStream, withRest } from './byte-stream.ts';
import { type AnswerSink, type ClientStream, noSink, type OutgoingRequest } from './client-stream.ts';
import { BodyEncoder } from './http1/body-encoder.ts';
import type { Refusal } from './http1/fault.ts';
import type { ResponseHead } from './http1/message.ts';
import { ResponseDecoder } from './http1/response-decoder.ts';
import type { Linked } from './linked-set.ts';
import { encodeRequest } from './onward-request.ts';

/** Where free streams are kept. */
export interface StreamHome {
  /** Takes back a stream that is free for the next exchange. */
  give(stream: HttpClientStream): void;
  /** A stream is gone for good. */
  drop(stream: HttpClientStream): void;
}

/**
 * The client's side of HTTP/1.1 on one byte stream: a tunnel's stream towards another proxy, or a socket to the local application. It carries exchanges one
 * after the other and outlives them: opening one costs a round trip, an exchange on an open one does not.
 */
export class HttpClientStream implements ClientStream, Linked<HttpClientStream> {
  before: HttpClientStream | undefined;
  after: HttpClientStream | undefined;
  linkedIn: object | undefined;
  sink: AnswerSink = noSink;
  /** Exchanges begun: above one, the other end may have closed it just before, unseen. */
  exchanges = 0;
  readonly #stream: ByteStream;
  readonly #decoder: ResponseDecoder;
  readonly #home: StreamHome;
  #keepAlive = true;
  #paused = false;
  /** Frames the body of the request under way; undefined: it has none. */
  #encoder: BodyEncoder | undefined;
  /** What the last write of an encoded piece answered. */
  #more = true;
  #gone = false;

  constructor(stream: ByteStream, home: StreamHome) {
    this.#stream = stream;
    this.#home = home;
    this.#decoder = new ResponseDecoder({
      onInformational: (head) => this.sink.onInformational(head),
      onHead: (head) => {
        this.#keepAlive = head.keepAlive && head.framing.kind !== 'until-close';
        this.sink.onHead(head);
      },
      onBody: (chunk) => this.sink.onBody(chunk),
      onComplete: () => this.sink.onComplete(),
      onUpgraded: (head, rest) => this.#handOver(head, rest),
      onRefusal: (refusal: Refusal) => this.#break(refusal.reason),
    });
    stream.handlers = {
      onData: (chunk) => {
        this.#decoder.execute(chunk);
        this.sink.onFlush();
      },
      onEnd: () => {
        const idle = this.#decoder.idle;
        this.#decoder.end();
        if (idle) this.#break('the upstream closed the connection');
      },
      onClose: (fault) => this.#break(fault ?? 'the connection was closed'),
      onDrain: () => this.sink.onDrain(),
    };
  }

  begin(sink: AnswerSink, request: OutgoingRequest): boolean {
    const { method, framing, upgrade } = request;
    this.sink = sink;
    this.exchanges += 1;
    this.#decoder.startResponse(method, upgrade !== undefined);
    this.#encoder = framing.kind === 'none' ? undefined : new BodyEncoder(framing, this.#put);
    return this.#stream.write(request.text ?? encodeRequest(request));
  }

  body(chunk: Buffer): boolean {
    if (this.#encoder === undefined) return this.#stream.write(chunk);
    this.#encoder.push(chunk);
    return this.#more;
  }

  finish(): void {
    this.#encoder?.finish();
    this.#encoder = undefined;
  }

  pause(): void {
    this.#paused = true;
    this.#stream.pause();
    this.#decoder.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#decoder.resume();
    this.sink.onFlush();
    // What the decoder held may have been enough for the sink to pause again; the stream must then not run into a paused decoder.
    if (!this.#paused) this.#stream.resume();
  }

  /**
   * After a whole answer to a whole request: back to the pool; or closed, when the application will not go on, or when more bytes have come behind the answer:
   * they would be taken for the answer to the next request.
   */
  release(): void {
    this.sink = noSink;
    if (this.#gone) return;
    if (this.#keepAlive && this.#decoder.idle && this.#decoder.heldBytes === 0) this.#home.give(this);
    else this.discard();
  }

  /** Ends it now, whatever is under way. Nothing more is called. */
  discard(): void {
    this.sink = noSink;
    if (this.#gone) return;
    this.#gone = true;
    this.#stream.destroy();
    this.#home.drop(this);
  }

  readonly #put = (piece: Buffer): void => {
    this.#more = this.#stream.write(piece);
  };

  #handOver(head: ResponseHead, rest: Buffer): void {
    const sink = this.sink;
    this.sink = noSink;
    this.#gone = true;
    this.#home.drop(this);
    this.#stream.pause();
    sink.onUpgraded(head, withRest(this.#stream, rest, false));
  }

  #break(reason: string): void {
    if (this.#gone) return;
    this.#gone = true;
    const sink = this.sink;
    this.sink = noSink;
    const untouched = this.#decoder.untouched;
    this.#stream.destroy();
    this.#home.drop(this);
    sink.onBroken(reason, untouched ? 'untouched' : 'begun');
  }
}
