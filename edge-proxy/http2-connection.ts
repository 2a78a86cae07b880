import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { ByteStream } from './byte-stream.ts';
import { deferOpen } from './deferred-open.ts';
import { endWithFarewell } from './farewell.ts';
import type { Drainable, ServingContext } from './server-stream.ts';
import { Http2Connection } from './tunnel/connection.ts';
import { everySecond } from './tunnel/ticker.ts';
import { defaultTunnelLimits, type TunnelLimits, type TunnelRequest } from './tunnel/tunnel.ts';
import { type InboundTunnelStream, idleStreamHandlers } from './tunnel/tunnel-stream.ts';

/** Who serves a request hears of its reset by itself. */
const begun = (): void => {};

/** Bounds of a connection that carries requests and nothing else: an application's own, or one within a tunnel. */
export const requestConnectionLimits: TunnelLimits = {
  ...defaultTunnelLimits,
  maxConcurrentStreams: 100,
  initialStreamWindow: 65_535,
  maxStreamWindow: 1_048_576,
  windowGrowthBudget: 16 * 1_048_576,
  connectionWindow: 1_048_576,
  // Who cancels more often is read no faster (CVE-2023-44487).
  resets: { burst: 2_000, perSecond: 500 },
};

/** Who serves what comes over an HTTP/2 connection. */
export interface Http2ConnectionHandlers {
  onRequest(stream: InboundTunnelStream, request: TunnelRequest): void;
  /** Once, last. */
  onClosed(reason: MeshError | undefined): void;
}

/**
 * The server's side of one HTTP/2 connection in clear text, by prior knowledge (RFC 9113 3.3), on a byte stream: an application's socket, or a CONNECT stream.
 * It is served from its preface on, see http-beginning.ts.
 */
export class Http2ServerConnection implements Drainable {
  before: Drainable | undefined;
  after: Drainable | undefined;
  linkedIn: object | undefined;
  ofUpstream: Drainable['ofUpstream'];
  readonly #stream: ByteStream;
  readonly #context: ServingContext;
  readonly #handlers: Http2ConnectionHandlers;
  readonly #connection: Http2Connection;
  #closed = false;
  /** More has come than can be read now. */
  #held = false;
  /** It has cancelled too much, and waits. */
  #calming: NodeJS.Timeout | undefined;
  #stopTicking = (): void => {};

  constructor(stream: ByteStream, context: ServingContext, handlers: Http2ConnectionHandlers) {
    this.#stream = stream;
    this.#context = context;
    this.#handlers = handlers;
    this.#connection = this.#bind();
    this.#stopTicking = everySecond(() => this.#connection.checkTimers());
    context.serving.add(this);
    stream.handlers = {
      onData: (chunk) => this.#connection.receive(chunk),
      // Whatever it still owed us is lost: a connection of HTTP/2 has no half-close.
      onEnd: () => this.#connection.lost(),
      onDrain: () => this.#connection.drained(),
      onClose: () => {
        if (!this.#closed) this.#connection.lost();
      },
    };
  }

  drain(): void {
    this.#connection.goAway();
  }

  /** Behind all else that came in this moment: of a request that is taken back at once (CVE-2023-44487) nothing is begun. */
  #serveSoon(stream: InboundTunnelStream, request: TunnelRequest): void {
    const giveUp = deferOpen(() => {
      this.#handlers.onRequest(stream, request);
      return begun;
    });
    stream.handlers = { ...idleStreamHandlers, onReset: giveUp };
  }

  #flow(): void {
    if (this.#closed) return;
    if (this.#held || this.#calming !== undefined) this.#stream.pause();
    else this.#stream.resume();
  }

  #bind(): Http2Connection {
    const stream = this.#stream;
    return new Http2Connection({
      role: 'server',
      limits: requestConnectionLimits,
      requests: true,
      now: () => performance.now(),
      write: (bytes, written) => {
        if (stream.writeLent !== undefined) return stream.writeLent(bytes, written);
        const more = stream.write(Buffer.from(bytes));
        written();
        return more;
      },
      schedule: setImmediate,
      source: stream.peerAddress,
      calm: (waitMs) => {
        if (this.#closed) return;
        clearTimeout(this.#calming);
        this.#calming = setTimeout(() => {
          this.#calming = undefined;
          this.#flow();
        }, waitMs);
        this.#flow();
      },
      hold: (held) => {
        this.#held = held;
        this.#flow();
      },
      handlers: {
        onStream: (opened, request) => this.#serveSoon(opened, request),
        onClose: (reason) => {
          this.#closed = true;
          clearTimeout(this.#calming);
          this.#stopTicking();
          this.#context.serving.delete(this);
          endWithFarewell(stream, this.#context.sweep);
          this.#handlers.onClosed(reason);
        },
      },
    });
  }
}
