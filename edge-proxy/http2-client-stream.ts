import { type AnswerSink, type ClientStream, noSink, type OutgoingRequest } from './client-stream.ts';
import { headerValues } from './http1/forwardable-headers.ts';
import type { ResponseHead } from './http1/message.ts';
import { readAnswer } from './http2/answer-rules.ts';
import { webSocketAccept, webSocketAcceptOf, webSocketKey } from './http2/websocket.ts';
import { passedTrailers, requestFields } from './http2/wire-fields.ts';
import { errorCode } from './tunnel/http2.ts';
import type { OriginTunnel } from './tunnel/tunnel.ts';
import type { HeaderFields, TunnelStream, TunnelStreamHandlers } from './tunnel/tunnel-stream.ts';
import { tunnelByteStream } from './tunnel-byte-stream.ts';

/** The client's side of one HTTP/2 request: a stream of its own, towards another proxy or to the local application. */
export class Http2ClientStream implements ClientStream, TunnelStreamHandlers {
  sink: AnswerSink = noSink;
  /** Streams are not used again. */
  readonly exchanges = 1;
  readonly #tunnel: OriginTunnel;
  #stream: TunnelStream | undefined;
  #phase: 'waiting' | 'answering' | 'done' = 'waiting';
  /** Our side has ended. */
  #requestWhole = false;
  /** Of the client of HTTP/1.1 whose WebSocket it opens. */
  #key: string | undefined;
  #headRequest = false;
  /** Bytes of the answer's body that are still to come; undefined: it was not said how many. */
  #left: number | undefined;
  #trailers: HeaderFields | undefined;

  /** @param tunnel with a stream available until `begin`, in this tick */
  constructor(tunnel: OriginTunnel) {
    this.#tunnel = tunnel;
  }

  begin(sink: AnswerSink, request: OutgoingRequest): boolean {
    this.sink = sink;
    if (request.upgrade !== undefined) this.#key = headerValues(request.headers, webSocketKey)[0] ?? '';
    this.#requestWhole = request.framing.kind === 'none' && this.#key === undefined;
    this.#headRequest = request.method === 'HEAD';
    this.#stream = this.#tunnel.request(requestFields(request), this.#requestWhole, (status, headers, ends) =>
      this.#onAnswer(status, headers, ends),
    );
    this.#stream.handlers = this;
    return true;
  }

  body(chunk: Buffer): boolean {
    return this.#stream?.write(chunk) ?? true;
  }

  finish(trailers?: HeaderFields): void {
    // Behind the opening of a WebSocket come bytes.
    if (this.#requestWhole || this.#key !== undefined) return;
    this.#requestWhole = true;
    this.#stream?.end(trailers === undefined ? undefined : passedTrailers(trailers));
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  release(): void {
    this.discard();
  }

  discard(): void {
    this.sink = noSink;
    if (this.#phase === 'done' && this.#requestWhole) return;
    this.#phase = 'done';
    this.#stream?.reset('cancel');
  }

  // TunnelStreamHandlers.

  onData(chunk: Buffer): void {
    if (this.#left !== undefined) {
      this.#left -= chunk.length;
      if (this.#left < 0) {
        this.#malformed('the body is longer than announced');
        return;
      }
    }
    this.sink.onBody(chunk);
  }

  onTrailers(fields: HeaderFields): void {
    this.#trailers = passedTrailers(fields);
  }

  onEnd(): void {
    if (this.#phase === 'done') return;
    if (this.#left !== undefined && this.#left > 0) {
      this.#malformed('the body is shorter than announced');
      return;
    }
    this.#phase = 'done';
    this.sink.onComplete(this.#trailers);
  }

  onDrain(): void {
    this.sink.onDrain();
  }

  onReset(code: number, remote: boolean): void {
    const words = remote ? `stream reset (${code})` : `the tunnel broke (${code})`;
    this.#break(words, code === errorCode.refusedStream ? 'refused' : undefined);
  }

  // Inside.

  #onAnswer(status: number, fields: HeaderFields, ends: boolean): void {
    const opens = this.#key !== undefined && status >= 200 && status < 300;
    // A 204 or 304, and what answers HEAD, have no content whatever they announce (RFC 9110 6.4.1); behind a CONNECT come bytes.
    const bodiless = this.#headRequest || status < 200 || status === 204 || status === 304 || opens;
    const head = readAnswer(status, fields, bodiless, ends);
    if (head === undefined) {
      this.#malformed('Content-Length is not one number of bytes, or not of those that come');
      return;
    }
    if (status < 200) {
      this.sink.onInformational(head);
      return;
    }
    if (opens && this.#stream !== undefined) {
      this.#phase = 'done';
      this.#stream.pause();
      const bytes = tunnelByteStream(this.#stream, undefined, 'cancel');
      this.sink.onUpgraded(switched(head, this.#key ?? ''), bytes);
      return;
    }
    this.#phase = 'answering';
    this.#left = bodiless || ends ? 0 : head.contentLength;
    this.sink.onHead(head);
    if (!ends) this.sink.onFlush();
  }

  #malformed(reason: string): void {
    this.#stream?.reset('protocol');
    this.#break(reason);
  }

  #break(reason: string, point: 'refused' | undefined = undefined): void {
    if (this.#phase === 'done') return;
    const untouched = this.#phase === 'waiting';
    this.#phase = 'done';
    const sink = this.sink;
    this.sink = noSink;
    sink.onBroken(reason, point ?? (untouched ? 'untouched' : 'begun'));
  }
}

/** The 101 that says in HTTP/1.1 what a 2xx says of an extended CONNECT (RFC 8441 5). */
function switched(head: ResponseHead, key: string): ResponseHead {
  const headers = head.headers.filter((_, at) => head.headers[at - (at % 2)] !== webSocketAccept);
  return {
    ...head,
    status: 101,
    reason: 'Switching Protocols',
    upgrade: 'websocket',
    headers: [...headers, 'Sec-WebSocket-Accept', webSocketAcceptOf(key)],
  };
}
