import type { ServiceProtocol } from '#policies/intention.ts';
import { headerValues } from './http1/forwardable-headers.ts';
import type { Http2Traits, RequestHead } from './http1/message.ts';
import { isGrpc } from './http2/grpc.ts';
import { opensWebSocket } from './http2/websocket.ts';
import { wireOf } from './wire-protocol.ts';

/**
 * How a request goes on that came in another version of HTTP than its service speaks. Heads have one form and bodies say how they end, so that all of it is
 * written anew: names in lower case, `:authority` and extended CONNECT there, `Host`, chunks and Upgrade here. Trailers are dropped, as always on HTTP/1.1.
 */

/** Why a request can't go on to a service of this protocol; undefined: it can. */
export function untranslatable(service: string, protocol: ServiceProtocol, head: RequestHead): string | undefined {
  const { http2, upgrade } = head;
  switch (wireOf(protocol)) {
    case 'bytes':
      // What its application speaks is not known. HTTP/1.1 passes as the bytes that it is.
      return http2 === undefined ? undefined : `${service} is of protocol ${protocol}: it is not asked in HTTP/2`;
    case 'HTTP/1.1':
      return http2?.grpc === true ? `${service} is of protocol ${protocol}, and gRPC is HTTP/2 all the way` : undefined;
    case 'HTTP/2':
      if (upgrade !== undefined) {
        const reason = `${service} is of protocol ${protocol}: HTTP/2 has no Upgrade but a WebSocket's, by GET with its key`;
        return opensWebSocket(head) ? undefined : reason;
      }
      if (http2 !== undefined) return undefined;
      return headerValues(head.headers, 'content-type').some(isGrpc)
        ? `${service} is of protocol ${protocol}, and gRPC is HTTP/2 all the way`
        : undefined;
  }
}

/** As what a request goes on to a service of this protocol. @returns undefined: as HTTP/1.1 */
export function traitsTowards(protocol: ServiceProtocol, head: RequestHead): Http2Traits | undefined {
  return wireOf(protocol) === 'HTTP/2' ? (head.http2 ?? fromHttp1) : undefined;
}

/** What HTTP/1.1 has no words for. */
const fromHttp1: Http2Traits = { takesTrailers: false, grpc: false };
