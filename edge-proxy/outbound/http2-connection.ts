import type { ByteStream } from '../byte-stream.ts';
import { Http2ServerConnection } from '../http2-connection.ts';
import { Http2ServerStream } from '../http2-server-stream.ts';
import type { RequestSink, ServerStream, ServingContext } from '../server-stream.ts';

/** Who serves what comes over one connection of the local application. */
export interface Http2Serving {
  /** No byte of a request or its answer for this long ends it, ms. */
  idleTimeoutMs(): number;
  serve(server: ServerStream): RequestSink;
  /** CONNECT is taken. */
  readonly allowConnect?: true;
  onClosed(): void;
}

/** Serves a connection of the local application that speaks HTTP/2: each of its requests is exchanged for itself. */
export function serveHttp2(stream: ByteStream, context: ServingContext, serving: Http2Serving): void {
  const options = { peerAddress: stream.peerAddress, allowConnect: serving.allowConnect };
  const connection = new Http2ServerConnection(stream, context, {
    onRequest(opened, request) {
      if (context.draining()) connection.drain();
      const serve: Http2Serving['serve'] = (server) => serving.serve(server);
      new Http2ServerStream(opened, request, context, serving.idleTimeoutMs(), serve, options);
    },
    onClosed: () => serving.onClosed(),
  });
}
