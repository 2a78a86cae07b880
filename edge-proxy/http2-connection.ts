import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { ByteStream } from './byte-stream.ts';
import { encodeError } from './http1/error-response.ts';
import type { Refusal } from './http1/fault.ts';
import type { Drainable, ServingContext } from './server-stream.ts';
import { Http2Connection } from './tunnel/connection.ts';
import { connectionPreface } from './tunnel/http2.ts';
import { defaultTunnelLimits, type TunnelLimits, type TunnelRequest } from './tunnel/tunnel.ts';
import type { InboundTunnelStream } from './tunnel/tunnel-stream.ts';

/** How long the preface may take, ms. */
const prefaceTimeoutMs = 10_000;
/** How long the last bytes of a connection may take, ms. */
const lingerMs = 2_000;
/** How often time-outs are looked at, ms. */
const tickMs = 1_000;

/** Bounds of a connection that carries requests and nothing else: an application's own, or one within a tunnel. */
export const requestConnectionLimits: TunnelLimits = {
  ...defaultTunnelLimits,
  maxConcurrentStreams: 100,
  initialStreamWindow: 65_535,
  maxStreamWindow: 1_048_576,
  windowGrowthBudget: 16 * 1_048_576,
  connectionWindow: 1_048_576,
  // So that no client of ours cancels so often that the peers of the tunnels count it as a flood (CVE-2023-44487).
  resets: { burst: 2_000, perSecond: 500 },
};

/** Who serves what comes over an HTTP/2 connection. */
export interface Http2ConnectionHandlers {
  onRequest(stream: InboundTunnelStream, request: TunnelRequest): void;
  /** It began with something that is not HTTP/2. @returns what it is told, in HTTP/1.1, and by which decision */
  onOther(): { readonly refusal: Refusal; readonly decision: string };
  /** Once, last. */
  onClosed(reason: MeshError | undefined): void;
}

/**
 * The server's side of one HTTP/2 connection in clear text, by prior knowledge (RFC 9113 3.3), on a byte stream: an application's socket, or a CONNECT stream.
 * Nothing is taken for HTTP/2 before its whole preface is here; who speaks something else is told so in text.
 */
export class Http2ServerConnection implements Drainable {
  readonly #stream: ByteStream;
  readonly #context: ServingContext;
  readonly #handlers: Http2ConnectionHandlers;
  #preface: Buffer | undefined = Buffer.alloc(0);
  #connection: Http2Connection | undefined;
  #closed = false;
  readonly #prefaceTimer: NodeJS.Timeout;
  #ticker: NodeJS.Timeout | undefined;

  constructor(stream: ByteStream, context: ServingContext, handlers: Http2ConnectionHandlers) {
    this.#stream = stream;
    this.#context = context;
    this.#handlers = handlers;
    this.#prefaceTimer = setTimeout(() => stream.destroy(), prefaceTimeoutMs);
    context.serving.add(this);
    stream.handlers = {
      onData: (chunk) => this.#onData(chunk),
      onEnd: () => this.#onEnd(),
      onDrain: () => this.#connection?.drained(),
      onClose: () => this.#onClose(),
    };
    stream.resume();
  }

  drain(): void {
    if (this.#connection === undefined) this.#stream.destroy();
    else this.#connection.goAway();
  }

  #onData(chunk: Buffer): void {
    if (this.#preface === undefined) {
      this.#connection?.receive(chunk);
      return;
    }
    const begun = this.#preface.length === 0 ? chunk : Buffer.concat([this.#preface, chunk]);
    const size = Math.min(begun.length, connectionPreface.length);
    if (begun.compare(connectionPreface, 0, size, 0, size) !== 0) {
      this.#preface = undefined;
      this.#refuse();
    } else if (size < connectionPreface.length) {
      this.#preface = begun;
    } else {
      this.#preface = undefined;
      clearTimeout(this.#prefaceTimer);
      const connection = this.#bind();
      this.#connection = connection;
      connection.receive(begun);
    }
  }

  #bind(): Http2Connection {
    const stream = this.#stream;
    const connection = new Http2Connection({
      role: 'server',
      limits: requestConnectionLimits,
      requests: true,
      now: () => performance.now(),
      write: (bytes, written) => {
        // A byte stream does not tell when it has read a buffer, and this one is used again.
        const more = stream.write(Buffer.from(bytes));
        written();
        return more;
      },
      schedule: setImmediate,
      handlers: {
        onStream: (opened, request) => this.#handlers.onRequest(opened, request),
        onClose: (reason) => {
          this.#closed = true;
          clearInterval(this.#ticker);
          this.#linger();
          this.#left(reason);
        },
      },
    });
    this.#ticker = setInterval(() => connection.checkTimers(), tickMs);
    this.#ticker.unref();
    return connection;
  }

  /** Says no to what is not HTTP/2. */
  #refuse(): void {
    clearTimeout(this.#prefaceTimer);
    const { refusal, decision } = this.#handlers.onOther();
    this.#stream.write(encodeError(refusal, decision));
    this.#linger();
  }

  /** No more from our side; what still comes is dropped for a while, as a socket closed with unread bytes would take back what was said last. */
  #linger(): void {
    const stream = this.#stream;
    const guard = this.#context.sweep.guard(lingerMs, () => stream.destroy());
    stream.handlers = {
      onData() {},
      onEnd() {},
      onDrain() {},
      onClose: () => {
        this.#context.sweep.release(guard);
        this.#onClose();
      },
    };
    stream.end();
    stream.resume();
  }

  /** Whatever it still owed us is lost: a connection of HTTP/2 has no half-close. */
  #onEnd(): void {
    if (this.#connection === undefined) this.#stream.destroy();
    else this.#connection.lost();
  }

  #onClose(): void {
    clearTimeout(this.#prefaceTimer);
    if (this.#connection === undefined) this.#left(undefined);
    else if (!this.#closed) this.#connection.lost();
  }

  #left(reason: MeshError | undefined): void {
    if (!this.#context.serving.delete(this)) return;
    this.#handlers.onClosed(reason);
  }
}
