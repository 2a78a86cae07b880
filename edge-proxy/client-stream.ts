import type { ByteStream } from './byte-stream.ts';
import type { Framing, Http2Traits, ResponseHead } from './http1/message.ts';
import type { HeaderFields } from './tunnel/tunnel-stream.ts';

/** A request as it goes out, the same on each try and in each version of HTTP. */
export interface OutgoingRequest {
  readonly method: string;
  /** Canonical path and query, or `*`. */
  readonly target: string;
  /** name, value, …: with Host, without those of the hop (forwardableHeaders). */
  readonly headers: readonly string[];
  readonly framing: Framing;
  /** The other protocol that is asked for; over HTTP/2 a WebSocket only. */
  readonly upgrade: string | undefined;
  /** It goes on over HTTP/2. */
  readonly http2: Http2Traits | undefined;
  /** Its head in HTTP/1.1, where that has been encoded before. */
  readonly text?: string | undefined;
}

/** How far a broken answer had come. `refused`: the request was surely not looked at; `untouched`: not a byte of an answer came; `begun`: some did. */
export type BreakPoint = 'refused' | 'untouched' | 'begun';

/** Who receives the answer that a stream is waiting for. */
export interface AnswerSink {
  onInformational(head: ResponseHead): void;
  onHead(head: ResponseHead): void;
  onBody(chunk: Buffer): void;
  /** @param trailers of HTTP/2; those of HTTP/1.1 are dropped */
  onComplete(trailers?: HeaderFields): void;
  /** The answer will not come, or not wholly. */
  onBroken(reason: string, point: BreakPoint): void;
  /** 101: `stream` speaks the other protocol from here on, and is the sink's: paused, with what has come behind the head. Nothing more is called. */
  onUpgraded(head: ResponseHead, stream: ByteStream): void;
  /** More may be written. */
  onDrain(): void;
  /** All that came at once has been told: what waits to be joined with more is to go on now. */
  onFlush(): void;
}

/** Nobody listens: between exchanges, and for answers that nobody wants. */
export const noSink: AnswerSink = {
  onInformational() {},
  onHead() {},
  onBody() {},
  onComplete() {},
  onBroken() {},
  onUpgraded() {},
  onDrain() {},
  onFlush() {},
};

/** The client's side of HTTP, of whatever version: takes a request towards another proxy or the local application, and brings its answer. */
export interface ClientStream {
  sink: AnswerSink;
  /** Exchanges begun: above one, the other end may have closed it just before, unseen. */
  readonly exchanges: number;
  /** Begins an exchange: sends the head, and `sink` gets the answer. @returns false: wait for `onDrain` before the body */
  begin(sink: AnswerSink, request: OutgoingRequest): boolean;
  /** Bytes of the body, in whatever framing the head has announced. @returns false: wait for `onDrain` */
  body(chunk: Buffer): boolean;
  /** The body is whole. Trailers go on over HTTP/2 only. */
  finish(trailers?: HeaderFields): void;
  pause(): void;
  resume(): void;
  /** After a whole answer to a whole request: ready for the next exchange, where there can be one. */
  release(): void;
  /** Ends it now, whatever is under way. Nothing more is called. */
  discard(): void;
}

/** For an answer that nobody wants: its stream is given back where it is whole already, else ended: a rest that comes late, or never, is waited for by nobody. */
export function unread(stream: ClientStream): AnswerSink {
  return { ...noSink, onComplete: () => stream.release(), onFlush: () => stream.discard() };
}
