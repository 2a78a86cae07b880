import type { Duplex } from 'node:stream';
import type { MeshError } from '#policies/errors/mesh-error.ts';
import { readFrom } from '../direct-reads.ts';
import { atTurnEnd } from '../turn.ts';
import { Http2Connection, type Http2ConnectionOptions } from './connection.ts';
import { everySecond } from './ticker.ts';
import {
  type AcceptingHandlers,
  defaultTunnelLimits,
  type OriginTunnel,
  type Tunnel,
  type TunnelHandlers,
  type TunnelLimits,
} from './tunnel.ts';

/** A tunnel that buffers less than this in its socket, bytes, goes on writing. */
const socketHighWaterMark = 262_144;
/** How long a closed tunnel's last bytes may take, ms. */
const lingerMs = 2_000;

export interface TunnelOptions {
  /** Connected, and where it is a TLSSocket: its peer verified, ALPN `h2` agreed. Nothing has been read from it. The tunnel owns it from here on. */
  readonly socket: Duplex;
  readonly limits?: Partial<TunnelLimits>;
  /** Who the peer is: its tunnels are read in turn with those of others. */
  readonly source?: unknown;
  /** Monotonic, ms; default `performance.now`. */
  readonly now?: () => number;
  /** Takes the socket over from a tunnel that has closed, whose last words are in it. Default: `finishSocket`. */
  readonly finish?: (reason: MeshError | undefined) => void;
}

/** Makes a connected socket the originating end of a tunnel: the end that opens streams. */
export function openTunnel(options: TunnelOptions & { handlers: TunnelHandlers }): OriginTunnel {
  return bind('client', options, options.handlers);
}

/** Makes a connected socket the accepting end of a tunnel: the end that serves CONNECT, and `requests` where it says so. */
export function acceptTunnel(options: TunnelOptions & { handlers: AcceptingHandlers; requests?: boolean }): Tunnel {
  return bind('server', options, options.handlers, options.requests ?? false);
}

function bind(
  role: 'client' | 'server',
  { socket, limits, source, now = () => performance.now(), finish = () => finishSocket(socket) }: TunnelOptions,
  handlers: Http2ConnectionOptions['handlers'],
  requests = false,
): Http2Connection {
  const connection = new Http2Connection({
    role,
    now,
    requests,
    source,
    hold: (held) => (held ? socket.pause() : socket.resume()),
    limits: { ...defaultTunnelLimits, ...limits },
    write: (bytes, written) => {
      if (!socket.writable) return true;
      // A socket that breaks may still hold the bytes: its buffers are not used again.
      return (
        socket.write(bytes, (error) => (error == null ? written() : undefined)) ||
        socket.writableLength < socketHighWaterMark
      );
    },
    // Behind the poll phase, so that what many local sockets brought in one turn leaves in one write: two proxies with 32 busy connections spend 34 µs a
    // request so, 40 with a microtask, 42 with nextTick (medians of 5 interleaved rounds).
    schedule: atTurnEnd,
    handlers: {
      ...handlers,
      onClose(reason: MeshError | undefined) {
        stopTicking();
        finish(reason);
        handlers.onClose(reason);
      },
    },
  });
  const stopTicking = everySecond(() => connection.checkTimers());
  let cause: Error | undefined;
  if ('setNoDelay' in socket && typeof socket.setNoDelay === 'function') socket.setNoDelay(true);
  readFrom(socket, (chunk) => connection.receive(chunk));
  socket.on('drain', () => connection.drained());
  // The peer has closed its side: whatever it still owed us is lost.
  socket.on('end', () => connection.lost());
  socket.on('error', (error) => {
    cause = error;
  });
  socket.on('close', () => connection.lost(cause));
  return connection;
}

/** Sends what is buffered, and closes; a peer that does not read is not waited for. */
export function finishSocket(socket: Duplex): void {
  if (socket.destroyed) return;
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  timer.unref();
  socket.end(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}
