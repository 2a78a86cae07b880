import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type AskedHttp, type ListenHttpOptions, listenHttp, pathOf, type ServedHttp } from './http-server.ts';
import { problemResponse } from './problem.ts';
import { writeIfReady } from './ready-response.ts';
import { plainAddress } from './socket-address.ts';
import type { VerifiedPeer } from './svid/verify-peer.ts';

/** What an application gets with a request: Hono's `c.env`. */
export interface PeerEnv {
  /** Who the caller proved to be by its SVID; undefined for a stranger, and always without TLS. */
  readonly peer?: VerifiedPeer;
  readonly remoteAddress: string;
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

/** What serveHttp needs. */
export interface ServeHttpOptions extends Omit<ListenHttpOptions, 'answer'> {
  readonly app: { fetch(request: Request, env: PeerEnv): Response | Promise<Response> };
}

/**
 * Serves an application of Hono's over HTTP/1.1. Bodies are read whole and bounded before the application is called; its Request's signal aborts when the client
 * goes away; a Response with a stream is streamed. Throws SLV-1004 when the address can't be had, SLV-2011 when there is no SVID to serve TLS with.
 */
export async function serveHttp({ app, ...options }: ServeHttpOptions): Promise<ServedHttp> {
  const { log } = options;
  const fetch = async (request: Request, node: { incoming: object; outgoing: object }): Promise<Response> => {
    const { incoming, outgoing } = node as { incoming: IncomingMessage & Asked; outgoing: ServerResponse };
    try {
      const peer = incoming[peerKey];
      const answer = await app.fetch(request, {
        ...(peer === undefined ? {} : { peer }),
        remoteAddress: plainAddress(incoming.socket.remoteAddress ?? ''),
        incoming,
        outgoing,
      });
      return writeIfReady(answer, outgoing) ? RESPONSE_ALREADY_SENT : answer;
    } catch (error) {
      return problemResponse(error, log, pathOf(incoming));
    }
  };
  const listener = getRequestListener(fetch, {
    // Our Request and Response stay the platform's: replacing globals is a process's business, not a listener's.
    overrideGlobalObjects: false,
    errorHandler: (error) =>
      problemResponse(new MeshError('SLV-1009', 'The request is malformed.', { cause: error }), log),
  });
  const answer = async ({ incoming, outgoing, body, peer }: AskedHttp): Promise<void> => {
    // Where the listener looks first: it hands out text and bytes of it without a Request of the platform and its streams, which would cost more than all
    // the rest of a small request.
    Object.assign(incoming, { [peerKey]: peer }, body === undefined ? undefined : { rawBody: body });
    await listener(incoming, outgoing);
  };
  return listenHttp({ ...options, answer });
}

const peerKey = Symbol('peer');

interface Asked {
  readonly [peerKey]?: VerifiedPeer;
}
