import { errorCatalogue } from '#policies/errors/catalogue.ts';
import type { ByteStream } from '../byte-stream.ts';
import { Http2ServerConnection } from '../http2-connection.ts';
import { Http2ServerStream } from '../http2-server-stream.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';

/** Serves a connection of the local application that speaks HTTP/2 to one upstream: each of its requests is exchanged for itself. */
export function serveHttp2(stream: ByteStream, context: OutboundContext): void {
  const { service, upstream, traffic, edge } = context;
  edge.connections.value += 1;
  edge.openConnections.value += 1;
  const connection = new Http2ServerConnection(stream, context, {
    onRequest(opened, request) {
      if (context.draining()) connection.drain();
      const { idleTimeoutMs } = upstream;
      new Http2ServerStream(
        opened,
        request,
        context,
        idleTimeoutMs,
        (server) => new OutboundHttpConnection(server, context),
      );
    },
    onOther() {
      const code = 'SLV-4014';
      const reason = `${upstream.name} is of protocol ${upstream.protocol}: connect with HTTP/2 by prior knowledge`;
      const { id } = traffic.refuse({
        direction: 'outbound',
        source: service,
        destination: upstream.name,
        code,
        rule: 'protocol',
        reason,
      });
      return { refusal: { status: errorCatalogue[code].status, code, reason }, decision: id };
    },
    onClosed() {
      edge.openConnections.value -= 1;
    },
  });
}
