import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '#runtime/clock.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { type ByteStream, socketStream } from '../byte-stream.ts';
import type { ClientStream, OutgoingRequest } from '../client-stream.ts';
import { deferOpen } from '../deferred-open.ts';
import { HttpClientStream } from '../http-client-stream.ts';
import { Http2ClientStream } from '../http2-client-stream.ts';
import { LinkedSet } from '../linked-set.ts';
import type { OriginTunnel } from '../tunnel/tunnel.ts';
import { type DialTunnel, TunnelPool } from '../tunnel-pool.ts';
import { dialApplication } from './dial-application.ts';

const dialNothing: DialTunnel = (events) => {
  queueMicrotask(() => events.onFailure('an application in this process speaks HTTP/1.1'));
  return () => {};
};

/** What connects to an application in this process, by version of HTTP; undefined: it does not speak that. */
export interface InProcessApplication {
  readonly http1?: (() => ByteStream) | undefined;
  readonly http2?: (() => Duplex) | undefined;
}

/** Why the application does not get a request. */
export interface ApplicationFailure {
  readonly code: 'SLV-4007' | 'SLV-4014';
  readonly reason: string;
}

const noWebSockets: ApplicationFailure = {
  code: 'SLV-4014',
  reason: 'speaks HTTP/2 and does not say that it takes WebSockets in it (SETTINGS_ENABLE_CONNECT_PROTOCOL)',
};

/** Connections kept open for the next request; a service under load needs about as many as requests are in flight. */
const maxFree = 256;

/** The local application behind an inbound listener: raw connections for TCP, kept-alive ones for HTTP/1.1, multiplexed ones for HTTP/2. */
export class LocalApplication {
  readonly #place: SocketAddress | InProcessApplication;
  readonly #connectTimeoutMs: number;
  readonly #free: HttpClientStream[] = [];
  readonly #all = new LinkedSet<HttpClientStream>();
  readonly #retired = new WeakSet<HttpClientStream>();
  readonly #http2: TunnelPool;

  /** @param place where it listens */
  constructor(place: SocketAddress | InProcessApplication, clock: Clock, connectTimeoutMs = 5_000) {
    this.#place = place;
    this.#connectTimeoutMs = connectTimeoutMs;
    const target = 'host' in place ? place : place.http2;
    const dial = target === undefined ? dialNothing : dialApplication(target, connectTimeoutMs);
    this.#http2 = new TunnelPool({ dial, clock });
  }

  /**
   * Connects to the application. Exactly one callback is called, once, unless the returned function was called before.
   *
   * @param onFailure gets the reason, such as ECONNREFUSED
   */
  connect(onConnected: (stream: ByteStream) => void, onFailure: (reason: string) => void): () => void {
    const place = this.#place;
    if (!('host' in place)) {
      if (place.http1 === undefined) onFailure('an application in this process speaks HTTP/2');
      else onConnected(place.http1());
      return () => {};
    }
    return deferOpen(() => this.#dial(place, onConnected, onFailure));
  }

  #dial(
    place: SocketAddress,
    onConnected: (stream: ByteStream) => void,
    onFailure: (reason: string) => void,
  ): () => void {
    let settled = false;
    const socket = connect({ host: place.host, port: place.port, allowHalfOpen: true, noDelay: true });
    const giveUp = (): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      socket.destroy();
    };
    const fail = (reason: string): void => {
      if (settled) return;
      giveUp();
      onFailure(reason);
    };
    const timer = setTimeout(() => fail(`no connection within ${this.#connectTimeoutMs} ms`), this.#connectTimeoutMs);
    const onError = (error: NodeJS.ErrnoException): void => fail(error.code ?? error.message);
    socket.on('error', onError);
    socket.once('connect', () => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      socket.off('error', onError);
      onConnected(socketStream(socket));
    });
    return giveUp;
  }

  /** A kept-alive connection, or a stream of one, that is ready for this request now. */
  takeFree(request: OutgoingRequest): ClientStream | undefined {
    if (request.http2 === undefined) return this.#free.pop();
    const tunnel = this.#http2.take();
    return tunnel === undefined || !takes(tunnel, request) ? undefined : new Http2ClientStream(tunnel);
  }

  /** A fresh connection, or a stream of one, for this request, which begins in that call; callbacks as in `connect`, but that the failure says which. */
  openHttp(
    request: OutgoingRequest,
    onStream: (stream: ClientStream) => void,
    onFailure: (failure: ApplicationFailure) => void,
  ): () => void {
    const unreached = (reason: string): void =>
      onFailure({ code: 'SLV-4007', reason: `does not take connections: ${reason}` });
    if (request.http2 !== undefined) {
      return this.#http2.lease(
        (tunnel) => {
          if (takes(tunnel, request)) onStream(new Http2ClientStream(tunnel));
          else onFailure(noWebSockets);
        },
        ({ reason }) => unreached(reason),
      );
    }
    return this.connect((bytes) => {
      const stream = new HttpClientStream(bytes, {
        give: (free) => {
          if (this.#free.length < maxFree && !this.#retired.has(free)) this.#free.push(free);
          else free.discard();
        },
        drop: (gone) => {
          this.#all.delete(gone);
          const index = this.#free.indexOf(gone);
          if (index >= 0) this.#free.splice(index, 1);
        },
      });
      this.#all.add(stream);
      onStream(stream);
    }, unreached);
  }

  /** It speaks another protocol from now on: what is kept for further requests is let go, now or behind the request that it is in use for. */
  retire(): void {
    for (const stream of this.#all.all()) this.#retired.add(stream);
    for (const free of this.#free.splice(0)) free.discard();
    this.#http2.retire();
  }

  close(): void {
    for (const stream of this.#all.all()) stream.discard();
    this.#http2.close();
  }
}

function takes(tunnel: OriginTunnel, { upgrade }: OutgoingRequest): boolean {
  return upgrade === undefined || tunnel.takesProtocols;
}
