import type { ByteStream } from '../byte-stream.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';
import { OutboundTcpConnection } from './tcp-connection.ts';

/** Serves a connection of the local application to one upstream, in the upstream's protocol as the catalog has it now. A stream that is paused is read on. */
export function serveConnection(stream: ByteStream, context: OutboundContext): void {
  if (context.upstream.protocol === 'http') {
    new OutboundHttpConnection(stream, context);
    stream.resume();
  } else {
    new OutboundTcpConnection(stream, context); // reads once somebody takes it
  }
}
