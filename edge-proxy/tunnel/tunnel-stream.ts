/** What a tunnel carries: CONNECT streams, seen as bytes both ways, and requests with their answers. The contract; `connection-stream.ts` is the thing. */

/** Header fields as they stand on the wire: lower-case name, value, in order. */
export type HeaderFields = ReadonlyArray<readonly [name: string, value: string]>;

/**
 * Why a stream is reset, as RFC 9113 7 codes it: `cancel` (no longer wanted), `refused` (nothing was done: safe to retry), `connect` (the TCP connection
 * behind it broke), `internal` (our fault), `protocol` (the peer's), `answered` (no blame: the answer is whole, the rest of the request is not read, 8.1).
 */
export type ResetReason = 'cancel' | 'refused' | 'connect' | 'internal' | 'protocol' | 'answered';

/** Called by the tunnel, synchronously, one at a time. An exception from one is a fault of ours: it ends the tunnel and goes on as uncaught. */
export interface TunnelStreamHandlers {
  /** Bytes of the peer. The chunk may be kept. */
  onData(chunk: Buffer): void;
  /** Fields behind the content of a request or an answer (RFC 9113 8.1); `onEnd` follows. */
  onTrailers?(fields: HeaderFields): void;
  /** The peer sends no more (END_STREAM). Our side stays open until `end()`. */
  onEnd(): void;
  /**
   * The stream is over before both sides ended it; nothing follows. Not called for our own `reset()`.
   *
   * @param code   RFC 9113 7; 7 (REFUSED_STREAM): the peer did nothing, another try is safe
   * @param remote true: the peer said so (RST_STREAM, GOAWAY); false: the tunnel broke, or the peer broke the protocol
   */
  onReset(code: number, remote: boolean): void;
  /** After a `write` that answered false: write on. */
  onDrain(): void;
  /** All that was written has been sent, END_STREAM included: `end()` is done. Not called after a reset. */
  onFinish?(): void;
}

/** One stream: bytes both ways with half-close and back-pressure. */
export interface TunnelStream {
  /** HTTP/2 stream identifier: unique within its tunnel. */
  readonly id: number;
  /** `:authority` of the request; of a CONNECT between our proxies `<service>.<datacenter>.<trust-domain>:<port>`. */
  readonly authority: string;
  /** Set by the owner in the same tick in which it gets the stream; may be set anew at any time. */
  handlers: TunnelStreamHandlers;
  /** A slot for the owner; the tunnel never looks at it. */
  userData: unknown;
  /**
   * Sends bytes, or text as latin1. The buffer must not change afterwards. After `end`, a reset or the tunnel's end the bytes are dropped: `onReset`
   * has told why.
   *
   * @returns false: as much as the high-water mark is waiting; wait for `onDrain`
   */
  write(data: Buffer | string): boolean;
  /** As `write`, of bytes that are there during the call only: what has to wait is copied. */
  writePassing(data: Buffer): boolean;
  /** END_STREAM, after everything written, with `trailers` where there are any (not on CONNECT streams). */
  end(trailers?: HeaderFields): void;
  /** Ends both directions now; what is buffered is dropped. */
  reset(reason: ResetReason): void;
  /** No `onData` and no window credit until `resume`; what the peer may still send is held, bounded by the stream's window. */
  pause(): void;
  /** Delivers what was held, in this call, and gives credit again. */
  resume(): void;
}

/** A stream that a peer has opened. Of a CONNECT nothing is delivered until it is accepted, of a request until `resume`. */
export interface InboundTunnelStream extends TunnelStream {
  /** Answers a CONNECT with 200; data flows from here on. Once. */
  accept(headers?: HeaderFields): void;
  /** Answers `status` and ends the stream. A request that is not whole is read no further. */
  refuse(status: number, headers?: HeaderFields): void;
  /** Begins the answer to a request; what is written is its content. Once. */
  answer(status: number, headers: HeaderFields): void;
  /** A 1xx before the answer to a request. */
  inform(status: number, headers: HeaderFields): void;
  /** Ends the answer to a request now, with trailers: what waits to be sent is dropped, what comes is not read. */
  breakOff(trailers: HeaderFields): void;
}

/** Handlers that do nothing: a stream between owners. */
export const idleStreamHandlers: TunnelStreamHandlers = { onData() {}, onEnd() {}, onReset() {}, onDrain() {} };
