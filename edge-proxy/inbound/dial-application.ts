import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { openTunnel } from '../tunnel/socket-tunnel.ts';
import type { DialTunnel } from '../tunnel-pool.ts';

/**
 * Dials the local application for HTTP/2 in clear text, by prior knowledge (RFC 9113 3.3). It counts as there when its SETTINGS have come: then it speaks HTTP/2,
 * and has said how many streams it takes.
 *
 * @param place where it listens; or, in this process, what connects to it
 */
export function dialApplication(place: SocketAddress | (() => Duplex), timeoutMs: number): DialTunnel {
  return (events) => {
    let state: 'dialling' | 'open' | 'over' = 'dialling';
    const socket = typeof place === 'function' ? place() : connect({ ...place, noDelay: true });
    const fail = (reason: string): void => {
      if (state !== 'dialling') return;
      state = 'over';
      clearTimeout(timer);
      socket.destroy();
      events.onFailure(reason);
    };
    const timer = setTimeout(() => fail(`no HTTP/2 within ${timeoutMs} ms`), timeoutMs);
    const onError = (error: NodeJS.ErrnoException): void => fail(error.code ?? error.message);
    socket.on('error', onError);
    const begin = (): void => {
      socket.off('error', onError);
      const tunnel = openTunnel({
        socket,
        // A gRPC server takes PINGs on a silent connection for abuse, and ends it with all that streams on it. On the same host the end of a peer shows by itself.
        limits: { keepAliveIdleMs: Number.POSITIVE_INFINITY },
        handlers: {
          onReady: () => {
            if (state !== 'dialling') return;
            state = 'open';
            clearTimeout(timer);
            events.onTunnel(tunnel, Number.MAX_SAFE_INTEGER);
          },
          onGoAway: () => {
            if (state === 'open') events.onGoAway();
          },
          onClose: (reason) => {
            if (state === 'open') events.onClose(reason?.message);
            else fail(`it does not speak HTTP/2 (${reason?.message ?? 'closed'})`);
          },
        },
      });
    };
    if (typeof place === 'function') begin();
    else socket.once('connect', begin);
    return () => {
      if (state === 'dialling') state = 'over';
      clearTimeout(timer);
      socket.destroy();
    };
  };
}
