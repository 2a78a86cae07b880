import type { ByteStream } from '../byte-stream.ts';
import { HttpServerStream } from '../http-server-stream.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';
import { serveHttp2 } from './http2-connection.ts';
import { OutboundTcpConnection } from './tcp-connection.ts';

/** Serves a connection of the local application to one upstream, in the upstream's protocol as the catalog has it now. A stream that is paused is read on. */
export function serveConnection(stream: ByteStream, context: OutboundContext): void {
  const { protocol, idleTimeoutMs } = context.upstream;
  switch (protocol) {
    case 'tcp':
      new OutboundTcpConnection(stream, context); // reads once somebody takes it
      return;
    case 'http':
      new HttpServerStream(stream, context, idleTimeoutMs, (server) => new OutboundHttpConnection(server, context));
      stream.resume();
      return;
    case 'http2':
    case 'grpc':
      serveHttp2(stream, context);
      return;
  }
}
