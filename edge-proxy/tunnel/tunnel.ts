import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { HeaderFields, InboundTunnelStream, TunnelStream } from './tunnel-stream.ts';

/** Bounds and times of one tunnel. Every bound is per connection. */
export interface TunnelLimits {
  /** Streams that the peer may hold open (SETTINGS_MAX_CONCURRENT_STREAMS). */
  readonly maxConcurrentStreams: number;
  /** Dynamic table that the peer's HPACK encoder may use (SETTINGS_HEADER_TABLE_SIZE), at most 4,096 bytes. Heads are too rare to be worth one. */
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
  /** How long an answer to PING or SETTINGS may take, ms. */
  readonly answerTimeoutMs: number;
}

export const defaultTunnelLimits: TunnelLimits = {
  maxConcurrentStreams: 1_000,
  headerTableSize: 0,
  initialStreamWindow: 256 * 1_024,
  maxStreamWindow: 4 * 1_024 * 1_024,
  windowGrowthBudget: 64 * 1_024 * 1_024,
  connectionWindow: 16 * 1_024 * 1_024,
  streamHighWaterMark: 64 * 1_024,
  keepAliveIdleMs: 15_000,
  answerTimeoutMs: 10_000,
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
  /** Closes now: running streams are reset. */
  close(): void;
}

/** The end that opens streams. */
export interface OriginTunnel extends Tunnel {
  /** Streams that may be opened now; 0 when draining or closed. */
  readonly available: number;
  /**
   * Opens a CONNECT stream. Data may be written at once: it follows the request without waiting for the answer. A status that is not 2xx ends the stream:
   * after `onAnswer` nothing more is called. Throws SLV-4104 when `available` is 0.
   */
  open(
    authority: string,
    headers: HeaderFields,
    onAnswer: (status: number, headers: HeaderFields) => void,
  ): TunnelStream;
}

/** The head of a stream that the peer asks for. */
export interface TunnelRequest {
  readonly method: string;
  readonly authority: string;
  /** Without pseudo-header fields. */
  readonly headers: HeaderFields;
}

/** What the owner of a tunnel hears. */
export interface TunnelHandlers {
  /** Once, last. `undefined`: an orderly end (drained, or `close()` was called). Streams have been reset before. */
  onClose(reason: MeshError | undefined): void;
  /** The peer drains: open further streams elsewhere. */
  onGoAway?(): void;
}

/** What the owner of an accepting tunnel hears. */
export interface AcceptingHandlers extends TunnelHandlers {
  /** A peer asks for a connection. Answer with `stream.accept()` or `stream.refuse()`, now or later. */
  onStream(stream: InboundTunnelStream, request: TunnelRequest): void;
}
