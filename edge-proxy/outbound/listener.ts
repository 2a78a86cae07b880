import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from '#runtime/logging.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { socketStream } from '../byte-stream.ts';
import { listenAt } from '../listen-at.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';
import { OutboundTcpConnection } from './tcp-connection.ts';

/** The local port at which the application reaches one upstream. Speaks the upstream's protocol, as the catalog has it at the time of the connection. */
export class OutboundListener {
  readonly #server: Server;
  readonly #context: OutboundContext;
  readonly #log: Logger;
  readonly #sockets = new Set<Socket>();

  constructor(context: OutboundContext, log: Logger, maxConnections: number) {
    this.#context = context;
    this.#log = log;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#onConnection(socket));
    this.#server.maxConnections = maxConnections;
  }

  /** @returns the bound port. Throws SLV-1004 when the address can't be had. */
  listen(address: SocketAddress): Promise<number> {
    return listenAt(this.#server, address, this.#log);
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  /** No new connections; open ones end after what is under way, idle ones now. */
  drain(): void {
    this.#server.close();
    for (const stream of [...this.#context.serving]) stream.drain();
  }

  close(): void {
    this.#server.close();
    for (const socket of [...this.#sockets]) socket.destroy();
  }

  #onConnection(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const stream = socketStream(socket);
    if (this.#context.upstream.protocol === 'http') new OutboundHttpConnection(stream, this.#context);
    else new OutboundTcpConnection(stream, this.#context);
  }
}
