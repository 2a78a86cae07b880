import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { secureContextOptions, serverTlsOptions, type TlsVersion } from '#runtime/tls-identity.ts';
import { TlsPeers } from '#runtime/tls-peers.ts';
import { type ByteStream, socketStream } from '../byte-stream.ts';
import { endWithFarewell } from '../farewell.ts';
import { type HttpVersions, serveHttpVersion } from '../http-beginning.ts';
import { HttpServerStream } from '../http-server-stream.ts';
import { Http2ServerConnection } from '../http2-connection.ts';
import { Http2ServerStream } from '../http2-server-stream.ts';
import { farewellInHttp2 } from '../tunnel/frame-writer.ts';
import { errorCode } from '../tunnel/http2.ts';
import { acceptTunnel, finishSocket } from '../tunnel/socket-tunnel.ts';
import type { Tunnel, TunnelRequest } from '../tunnel/tunnel.ts';
import type { InboundTunnelStream } from '../tunnel/tunnel-stream.ts';
import { tunnelByteStream } from '../tunnel-byte-stream.ts';
import { wireOf } from '../wire-protocol.ts';
import { Caller } from './caller.ts';
import { Door } from './door.ts';
import { InboundHttpStream } from './http-stream.ts';
import type { InboundContext } from './inbound-context.ts';
import { Penalties, peerKey } from './penalties.ts';
import { denialFields, notReachedFields, recordDenial, serveTcp } from './tcp-stream.ts';
import { Unheard } from './unheard.ts';

/** How long after the word of a drain idle streams are left to their callers to end. */
const lettingGoMs = 1_000;

/**
 * Where the mesh reaches one local service: mTLS, the peer verified before a byte is read, then by ALPN: `h2` is a tunnel of another edge proxy (or
 * of Envoy), anything else a plain mTLS client, served as the service's protocol.
 */
export class InboundListener {
  readonly #door: Door;
  /** Shakes hands with whom the door lets in; it does not listen itself. */
  readonly #server: Server;
  readonly #context: InboundContext;
  readonly #process: ProcessContext;
  readonly #peers: TlsPeers;
  readonly #own: SpiffeId;
  readonly #tunnels = new Map<TLSSocket, Tunnel>();
  readonly #penalties = new Penalties(() => performance.now());
  readonly #unheard: Unheard;
  readonly #plain = new Set<TLSSocket>();
  /** TCP connections whose handshake is not finished, by the peer's address and port: TLS sockets do not tell theirs. */
  readonly #handshaking = new Map<string, Socket>();
  readonly #stopRotation: () => void;
  #lettingGo: NodeJS.Timeout | undefined;

  /** @param options.svid must have an SVID now */
  constructor(options: {
    svid: SvidSource;
    trust: TrustSource;
    context: InboundContext;
    process: ProcessContext;
    maxConnections: number;
    tlsMinVersion?: TlsVersion | undefined;
  }) {
    const { svid, trust, process, maxConnections, tlsMinVersion } = options;
    const current = svid.current;
    if (current === undefined) throw new MeshError('SLV-4008', 'an inbound listener needs an SVID to show');
    this.#own = current.spiffeId;
    this.#context = options.context;
    this.#process = process;
    this.#peers = new TlsPeers({
      trust,
      clock: process.clock,
      log: process.log,
      end: (socket, why) => this.#turnAway(socket, why),
    });
    this.#server = createServer({
      ...serverTlsOptions(current, tlsMinVersion),
      ALPNCallback: ({ protocols }) => this.#alpn(protocols),
    });
    this.#unheard = new Unheard(maxConnections);
    this.#door = new Door({
      maxConnections,
      begin: (socket) => {
        // The TLS socket has it from this one. Whoever ends its side before it has shown who it is has gone; who has may go on reading, see `#onConnection`.
        socket.allowHalfOpen = false;
        this.#server.emit('connection', socket);
      },
      process,
    });
    this.#server.on('connection', (socket: Socket) => {
      const key = peerOf(socket);
      this.#handshaking.set(key, socket);
      socket.once('close', () => this.#handshaking.delete(key));
    });
    this.#server.on('secureConnection', (socket) => this.#onConnection(socket));
    this.#server.on('tlsClientError', (error, socket) => {
      process.log.debug({ err: error, remoteAddress: socket.remoteAddress }, 'handshake failed');
      socket.destroy(); // a handshake that timed out is only told of
    });
    let wire = wireOf(options.context.view.inbound?.protocol ?? 'tcp');
    options.context.view.onInbound(() => {
      const before = wire;
      wire = wireOf(options.context.view.inbound?.protocol ?? 'tcp');
      if (wire === before) return;
      // What is idle ends now, requests under way go on to their end; bytes are cut where they are judged.
      for (const stream of options.context.serving.all()) stream.drain();
      options.context.application.retire();
    });
    this.#stopRotation = svid.onChange((next) =>
      this.#server.setSecureContext(secureContextOptions(next, tlsMinVersion)),
    );
  }

  /** @returns the bound port. Throws SLV-1004 when the address can't be had. */
  listen(address: SocketAddress): Promise<number> {
    return this.#door.listen(address);
  }

  /** Tunnels open now, for the admin API. */
  get tunnels(): number {
    return this.#tunnels.size;
  }

  /**
   * No new connections; tunnels are told to go elsewhere, what is under way goes on.
   *
   * @param idleMs how long the idle streams of those who don't let go may have a next request, which ends them in order
   */
  drain(idleMs = lettingGoMs): void {
    this.#door.close();
    for (const tunnel of this.#tunnels.values()) tunnel.goAway();
    // Peers of ours let go of idle streams themselves once told. Were we to end those at once, a request that is on its way on one would be lost.
    clearTimeout(this.#lettingGo);
    this.#lettingGo = setTimeout(() => {
      for (const stream of this.#context.serving.all()) stream.drain();
    }, idleMs);
  }

  /** Nothing is open any more. */
  get drained(): boolean {
    return this.#tunnels.size === 0 && this.#plain.size === 0;
  }

  close(): void {
    this.#stopRotation();
    this.#peers.close();
    clearTimeout(this.#lettingGo);
    this.#door.close();
    this.#door.clear();
    this.#unheard.clear();
    for (const tunnel of [...this.#tunnels.values()]) tunnel.close();
    for (const socket of [...this.#plain, ...this.#handshaking.values()]) socket.destroy();
  }

  #onConnection(socket: TLSSocket): void {
    this.#handshaking.delete(peerOf(socket));
    socket.allowHalfOpen = true;
    socket.on('error', (error) => this.#process.log.debug({ err: error }, 'inbound connection broke'));
    if (!this.#peers.admit(socket)) return;
    const peer = this.#peers.of(socket);
    if (peer === undefined) {
      const { id } = this.#context.traffic.refuse({
        direction: 'inbound',
        source: 'no certificate',
        destination: this.#context.view.service,
        code: 'SLV-2020',
        rule: 'mTLS',
        reason: `the peer at ${socket.remoteAddress ?? '?'} presented no certificate`,
      });
      this.#turnAway(socket, `SLV-2020: no certificate (decision ${id})`);
      return;
    }
    const caller = new Caller(peer, this.#context, this.#own);
    if (socket.alpnProtocol === 'h2') this.#acceptTunnel(socket, caller);
    else this.#acceptPlain(socket, caller);
  }

  /** Ends the connection of a peer that may not have one, or not any more; HTTP/2 has a word for that. What still comes is looked at by nobody. */
  #turnAway(socket: TLSSocket, why: string): void {
    const tunnel = this.#tunnels.get(socket);
    const { inadequateSecurity } = errorCode;
    // What waits to be sent is not for this peer any more.
    if (socket.alpnProtocol !== 'h2' || socket.writableLength > 0 || this.#unheard.has(socket)) socket.destroy();
    else if (tunnel !== undefined) tunnel.close(inadequateSecurity, why);
    else endWithFarewell(socketStream(socket), this.#context.sweep, farewellInHttp2(inadequateSecurity, why));
  }

  #acceptTunnel(socket: TLSSocket, caller: Caller): void {
    const identity = caller.peer.spiffeId;
    const address = socket.remoteAddress ?? '';
    const keepUnheard = (): boolean =>
      this.#unheard.keep(socket, peerKey(identity, address), this.#penalties.leftMs(identity, address));
    if (this.#penalties.leftMs(identity, address) > 0) {
      this.#process.log.debug({ peer: identity, address }, 'cut for a flood, and back too soon');
      socket.write(farewellInHttp2(errorCode.enhanceYourCalm, 'cut for a flood, and back too soon'));
      if (!keepUnheard()) socket.destroy();
      return;
    }
    const versions = this.#versionsFor(caller);
    const tunnel = acceptTunnel({
      socket,
      requests: true,
      source: identity,
      handlers: {
        onStream: (stream, request) => {
          const { method, protocol, over } = request;
          if (method === 'CONNECT' && protocol === undefined && !over) this.#onConnect(stream, caller, versions);
          else this.#onRequest(stream, request, caller);
        },
        onClose: (reason) => {
          this.#tunnels.delete(socket);
          if (reason === undefined) return;
          this.#process.log.debug({ err: reason, peer: identity }, 'tunnel closed');
        },
      },
      finish: (reason) => {
        if (!isFlood(reason)) {
          finishSocket(socket);
          return;
        }
        this.#penalties.add(identity, address);
        this.#door.slow(address);
        if (!keepUnheard()) finishSocket(socket);
      },
    });
    this.#tunnels.set(socket, tunnel);
    if (this.#context.draining()) tunnel.goAway(); // its handshake was under way
  }

  #acceptPlain(socket: TLSSocket, caller: Caller): void {
    this.#plain.add(socket);
    socket.once('close', () => this.#plain.delete(socket));
    const bytes = socketStream(socket);
    switch (wireOf(this.#context.view.inbound?.protocol ?? 'tcp')) {
      case 'HTTP/1.1':
      case 'HTTP/2':
        this.#serveHttp(bytes, this.#versionsFor(caller));
        return;
      case 'bytes':
        bytes.pause();
        serveTcp({ bytes, accept() {}, refuse: () => socket.destroy() }, caller, this.#context);
    }
  }

  /** HTTP of either version that does not come by ALPN: from a plain peer, or within a CONNECT stream. */
  #serveHttp(bytes: ByteStream, versions: HttpVersions): void {
    serveHttpVersion(bytes, this.#context, this.#context.idleTimeoutMs, versions);
  }

  #versionsFor(caller: Caller): HttpVersions {
    const context = this.#context;
    const { idleTimeoutMs } = context;
    return {
      http1(stream) {
        new HttpServerStream(
          stream,
          context,
          idleTimeoutMs,
          (server) => new InboundHttpStream(server, caller, context),
        );
      },
      http2: (stream) => {
        new Http2ServerConnection(stream, context, {
          onRequest: (opened, request) => this.#onRequest(opened, request, caller),
          onClosed() {},
        });
      },
    };
  }

  /** Proxies of ours offer h2 alone. Who offers both gets HTTP/1.1 where the application speaks that. Undefined ends the handshake (RFC 7301 3.2). */
  #alpn(offered: readonly string[]): string | undefined {
    const inHttp1 = wireOf(this.#context.view.inbound?.protocol ?? 'tcp') === 'HTTP/1.1';
    const wanted = inHttp1 ? ['http/1.1', 'h2'] : ['h2', 'http/1.1'];
    return wanted.find((protocol) => offered.includes(protocol));
  }

  /** A request of HTTP/2: of another proxy of ours, or of any other client that proved who it is. */
  #onRequest(stream: InboundTunnelStream, request: TunnelRequest, caller: Caller): void {
    const context = this.#context;
    new Http2ServerStream(
      stream,
      request,
      context,
      context.idleTimeoutMs,
      (server) => new InboundHttpStream(server, caller, context),
    );
  }

  /** A stream of a tunnel: the caller asks for a connection to the local service, whatever its `:authority` says. */
  #onConnect(stream: InboundTunnelStream, caller: Caller, versions: HttpVersions): void {
    const { view, nothingKnown, traffic } = this.#context;
    const policy = caller.policy;
    if (policy === undefined) {
      traffic.refuse({
        direction: 'inbound',
        source: caller.peer.spiffeId,
        destination: view.service,
        code: 'SLV-4008',
        rule: nothingKnown.rule,
        reason: nothingKnown.reason,
      });
      stream.refuse(503, notReachedFields(nothingKnown.reason));
      return;
    }
    const bytes = tunnelByteStream(stream);
    const accept = (): void => stream.accept();
    const wire = wireOf(view.inbound?.protocol ?? 'tcp');
    if (wire === 'bytes') {
      serveTcp({ bytes, accept, refuse: (status, fields) => stream.refuse(status, fields) }, caller, this.#context);
    } else if (policy.connection !== 'per-request' && !policy.connection.allowed) {
      const decision = recordDenial(policy.connection, caller, this.#context);
      stream.refuse(403, denialFields(decision, policy.connection.reason));
    } else {
      this.#serveHttp(bytes, versions);
      accept();
    }
  }
}

/** A tunnel of ours that many callers leave is cut and comes again: its peer did nothing that it could help. */
function isFlood(reason: MeshError | undefined): boolean {
  return reason?.code === 'SLV-4106' && reason.detail['ofCallers'] !== true;
}

function peerOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}
