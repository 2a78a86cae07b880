import type { ByteStream } from '../byte-stream.ts';
import { serveHttpVersion } from '../http-beginning.ts';
import { HttpServerStream } from '../http-server-stream.ts';
import { wireOf } from '../wire-protocol.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';
import { serveHttp2 } from './http2-connection.ts';
import { OutboundTcpConnection } from './tcp-connection.ts';

/**
 * Serves a connection of the local application to one upstream: as bytes, or in the version of HTTP that the application speaks, as the catalog has the upstream's
 * protocol now. A stream that is paused is read on.
 */
export function serveConnection(stream: ByteStream, context: OutboundContext): void {
  const { upstream, edge } = context;
  if (wireOf(upstream.protocol) === 'bytes') {
    new OutboundTcpConnection(stream, context); // reads once somebody takes it
    return;
  }
  const { idleTimeoutMs } = upstream;
  serveHttpVersion(stream, context, idleTimeoutMs, {
    http1(bytes) {
      new HttpServerStream(bytes, context, idleTimeoutMs, (server) => new OutboundHttpConnection(server, context));
    },
    http2(bytes) {
      edge.connections.value += 1;
      edge.openConnections.value += 1;
      serveHttp2(bytes, context, {
        idleTimeoutMs: () => upstream.idleTimeoutMs,
        serve: (server) => new OutboundHttpConnection(server, context),
        onClosed() {
          edge.openConnections.value -= 1;
        },
      });
    },
  });
}
