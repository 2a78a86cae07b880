import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { HeaderFields, InboundTunnelStream, TunnelStream } from './tunnel-stream.ts';

/** Bounds and times of one tunnel. Every bound is per connection. */
export interface TunnelLimits {
  /** Streams that the peer may hold open (SETTINGS_MAX_CONCURRENT_STREAMS). */
  readonly maxConcurrentStreams: number;
  /** Dynamic table that the peer's HPACK encoder may use (SETTINGS_HEADER_TABLE_SIZE), at most 4,096 bytes. */
  readonly headerTableSize: number;
  /** Receive window that a stream starts with, bytes; at least 65,535. */
  readonly initialStreamWindow: number;
  /** Receive window that a fast stream may grow to, bytes. */
  readonly maxStreamWindow: number;
  /** What all streams together may grow beyond their initial windows, bytes: bounds what paused streams can hold. */
  readonly windowGrowthBudget: number;
  /** Receive window of the connection, bytes. */
  readonly connectionWindow: number;
  /** Bytes waiting in a stream above which `write` answers false. */
  readonly streamHighWaterMark: number;
  /** Silence of the peer after which it is asked for a sign of life, ms. */
  readonly keepAliveIdleMs: number;
  /** How long an answer to PING or SETTINGS may take, and the frames of one head, ms. */
  readonly answerTimeoutMs: number;
  /** How long a request whose answer waits may give no window for it, ms. */
  readonly stallTimeoutMs: number;
  /** RST_STREAM frames that the peer may send: at once, and then a second. */
  readonly resets: { readonly burst: number; readonly perSecond: number };
}

export const defaultTunnelLimits: TunnelLimits = {
  maxConcurrentStreams: 1_000,
  headerTableSize: 4_096,
  initialStreamWindow: 256 * 1_024,
  maxStreamWindow: 4 * 1_024 * 1_024,
  windowGrowthBudget: 64 * 1_024 * 1_024,
  connectionWindow: 16 * 1_024 * 1_024,
  streamHighWaterMark: 64 * 1_024,
  keepAliveIdleMs: 15_000,
  answerTimeoutMs: 10_000,
  stallTimeoutMs: 30_000,
  // Peers of a tunnel are authenticated and multiplex many local clients, each of which may cancel: as many as such clients could connect (the trap that
  // nghttp2's 1,000 and 33/s would be).
  resets: { burst: 20_000, perSecond: 5_000 },
};

/** `open`; `draining`: no new streams, those that run finish; `closed`. */
export type TunnelState = 'open' | 'draining' | 'closed';

/** One long-lived HTTP/2 connection between two edge proxies. */
export interface Tunnel {
  readonly state: TunnelState;
  readonly activeStreams: number;
  /** Smoothed round trip, ms; undefined until first measured. */
  readonly roundTripMs: number | undefined;
  /** Drains: the peer opens no new streams, running ones finish, then the tunnel closes. */
  goAway(): void;
  /**
   * Closes now: running streams are reset.
   *
   * @param code what the peer is told (RFC 9113 7); absent: NO_ERROR
   * @param why  in ASCII
   */
  close(code?: number, why?: string): void;
}

/** The end that opens streams. */
export interface OriginTunnel extends Tunnel {
  /** Streams that may be opened now; 0 when draining or closed. */
  readonly available: number;
  /** The peer takes extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441 3), as far as it has said so. */
  readonly takesProtocols: boolean;
  /**
   * Opens a CONNECT stream. Data may be written at once: it follows the request without waiting for the answer. A status that is not 2xx ends the stream:
   * after `onAnswer` nothing more is called. Throws SLV-4104 when `available` is 0.
   */
  open(
    authority: string,
    headers: HeaderFields,
    onAnswer: (status: number, headers: HeaderFields) => void,
  ): TunnelStream;
  /**
   * Sends a request (RFC 9113 8.3.1). Throws SLV-4104 when `available` is 0.
   *
   * @param fields   pseudo-header fields first
   * @param whole    it has no content
   * @param onAnswer each 1xx, then the head of the answer; `ends`: it has no content
   */
  request(
    fields: HeaderFields,
    whole: boolean,
    onAnswer: (status: number, headers: HeaderFields, ends: boolean) => void,
  ): TunnelStream;
}

/** The head of a stream that the peer asks for. */
export interface TunnelRequest {
  readonly method: string;
  /** Empty where a request left it out. */
  readonly authority: string;
  /** As sent; empty for CONNECT without a protocol. */
  readonly path: string;
  /** What an extended CONNECT asks for (RFC 8441), a token; undefined: it is none. */
  readonly protocol: string | undefined;
  /** It has no content. Never so for CONNECT, whose stream may have ended all the same. */
  readonly whole: boolean;
  /** Its head is larger than we take: `headers` are its beginning, and it is to be refused. */
  readonly over: boolean;
  /** Without pseudo-header fields. */
  readonly headers: HeaderFields;
}

/** What the owner of a tunnel hears. */
export interface TunnelHandlers {
  /** Once. `undefined`: an orderly end (drained, or `close()` was called). Streams that were still open are reset before, where they are many the last of them in the turns behind. */
  onClose(reason: MeshError | undefined): void;
  /** The peer drains: open further streams elsewhere. */
  onGoAway?(): void;
  /** The peer's first SETTINGS: it speaks HTTP/2, and says how many streams it takes. */
  onReady?(): void;
}

/** What the owner of an accepting tunnel hears. */
export interface AcceptingHandlers extends TunnelHandlers {
  /** A peer asks for a connection, or something else: answer now or later. */
  onStream(stream: InboundTunnelStream, request: TunnelRequest): void;
}
