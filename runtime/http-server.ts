import type { IncomingMessage, ServerOptions, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from './clock.ts';
import { readRequestBody, refuseUnread } from './http-body.ts';
import { ListeningSockets } from './listening-sockets.ts';
import type { Logger } from './logging.ts';
import { createServer as createHttpServer } from './node-http.ts';
import { problemAnswer } from './problem.ts';
import { formatSocketAddress } from './socket-address.ts';
import type { SvidSource } from './svid/svid.ts';
import type { TrustSource } from './svid/trust.ts';
import type { VerifiedPeer } from './svid/verify-peer.ts';
import { secureContextOptions, serverTlsOptions } from './tls-identity.ts';
import { TlsPeers } from './tls-peers.ts';
import { type ClientError, refuseUnreadable } from './unreadable-request.ts';

/** A listening HTTP service. */
export interface ServedHttp {
  /** `http://127.0.0.1:8500`, with the port that was given or found. */
  readonly url: string;
  readonly port: number;
  /** Stops accepting, lets requests in flight finish for up to `graceMs` (default 5 s), then destroys what is left (blocking queries, feeds). */
  close(graceMs?: number): Promise<void>;
}

/** A request whose body is there. */
export interface AskedHttp {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** Undefined when it has none. */
  readonly body: Buffer | undefined;
  /** Who the caller proved to be by its SVID; undefined for a stranger, and always without TLS. */
  readonly peer: VerifiedPeer | undefined;
}

/** What listenHttp needs. */
export interface ListenHttpOptions {
  /** Answers; a rejection is logged and ends the connection. */
  readonly answer: (asked: AskedHttp) => void | Promise<void>;
  /** IP literal to listen on. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /**
   * Serves https with this SVID, rotated as it changes. Client certificates are optional; one that is presented and does not verify ends the
   * connection before a byte is read.
   */
  readonly tls?: { readonly svid: SvidSource; readonly trust: TrustSource };
  readonly log: Logger;
  readonly clock: Clock;
  /** Of the process; absent: it was started with none. */
  readonly sockets?: ListeningSockets;
  /** Larger request bodies are answered with 413, SLV-1008. Default 1 MiB. */
  readonly maxBodyBytes?: number;
}

const defaultMaxBodyBytes = 1_048_576;
const maxConnections = 10_000;
/**
 * Connections that the kernel keeps until they are accepted; it may be bounded lower by net.core.somaxconn. With Node's 511, of two thousand proxies that start at
 * one moment most have their SYN dropped, and TCP tries again after 1, 3, 7 and 15 seconds.
 */
const backlog = 4_096;

/** Deadlines are for receiving a request; an answer may take as long as it takes (blocking queries last ten minutes, feeds for ever). */
const limits: ServerOptions = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 30_000,
  connectionsCheckingInterval: 5_000,
};

/**
 * Serves HTTP/1.1. Bodies are read whole and bounded before anything else happens. Throws SLV-1004 when the address can't be had, SLV-2011 when there is no SVID to
 * serve TLS with.
 */
export async function listenHttp(options: ListenHttpOptions): Promise<ServedHttp> {
  const { answer, host, tls, log, clock } = options;
  const maxBodyBytes = options.maxBodyBytes ?? defaultMaxBodyBytes;
  const peers = tls === undefined ? undefined : new TlsPeers({ trust: tls.trust, clock, log });

  let draining = false;
  /** What is being answered, by connection. */
  const answers = new WeakMap<Duplex, Set<ServerResponse>>();
  const onRequest = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    if (draining) outgoing.shouldKeepAlive = false;
    const open = answers.get(incoming.socket) ?? new Set();
    answers.set(incoming.socket, open.add(outgoing));
    // A request that came before the drain leaves its connection idle, which nobody else would close.
    outgoing.once('close', () => {
      open.delete(outgoing);
      if (draining) server.closeIdleConnections();
    });
    let body: Buffer | undefined;
    try {
      body = await readRequestBody(incoming, maxBodyBytes);
    } catch (error) {
      if (isMeshError(error, 'SLV-1008')) refuseUnread(incoming, outgoing, problemAnswer(error, log, pathOf(incoming)));
      else incoming.destroy();
      return;
    }
    const peer = incoming.socket instanceof TLSSocket ? peers?.of(incoming.socket) : undefined;
    await answer({ incoming, outgoing, body, peer });
  };
  const handle = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    onRequest(incoming, outgoing).catch((err: unknown) => {
      log.error({ err }, 'request failed');
      outgoing.destroy();
    });
  };

  const secure = tls === undefined || peers === undefined ? undefined : tlsServer(tls, peers, handle);
  const server = secure ?? createHttpServer(limits, handle);
  server.maxConnections = maxConnections;
  // Whoever asks "may I send?" is answered by the length it announces.
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (Number(incoming.headers['content-length'] ?? 0) <= maxBodyBytes) outgoing.writeContinue();
    handle(incoming, outgoing);
  });
  server.on('clientError', (error: ClientError, socket: Duplex) => {
    refuseUnreadable(error, socket, answers.get(socket) ?? [], log);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const stopRotating = tls?.svid.onChange((svid) => secure?.setSecureContext(secureContextOptions(svid)));
  const port = await (options.sockets ?? new ListeningSockets()).listen(server, { host, port: options.port }, backlog);

  return {
    url: `${tls === undefined ? 'http' : 'https'}://${formatSocketAddress({ host, port })}`,
    port,
    async close(graceMs = 5_000) {
      draining = true;
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve()); // closes idle connections too
      const deadline = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await promise;
      clearTimeout(deadline);
      stopRotating?.();
      peers?.close();
    },
  };
}

type RequestHandler = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** An https server whose HTTP side sees a connection only when its peer has been judged. */
function tlsServer(tls: NonNullable<ListenHttpOptions['tls']>, peers: TlsPeers, handle: RequestHandler) {
  const svid = tls.svid.current;
  if (svid === undefined) throw new MeshError('SLV-2011', 'There is no SVID to serve TLS with.');
  const server = createHttpsServer({ ...limits, ...serverTlsOptions(svid), ALPNProtocols: ['http/1.1'] }, handle);
  const serveConnection = server.listeners('secureConnection');
  server.removeAllListeners('secureConnection');
  server.on('secureConnection', (socket: TLSSocket) => {
    if (!peers.admit(socket)) return;
    for (const serve of serveConnection) serve.call(server, socket);
  });
  return server;
}

/** The path without its query, which may hold what is not for logs. */
export function pathOf(incoming: IncomingMessage): string {
  return (incoming.url ?? '').split('?', 1)[0]?.slice(0, 256) ?? '';
}
