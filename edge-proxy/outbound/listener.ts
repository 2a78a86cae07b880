import { createServer, type Server, type Socket } from 'node:net';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { type ByteStream, socketStream } from '../byte-stream.ts';
import { LinkedSet, Place } from '../linked-set.ts';
import { listenAt } from '../listen-at.ts';
import type { Drainable } from '../server-stream.ts';
import { connectionTaken } from '../turn.ts';

/** What an outbound listener is made of. */
export interface OutboundListenerOptions {
  readonly serving: LinkedSet<Drainable>;
  /** Takes a connection of the local application. */
  serve(stream: ByteStream): void;
  readonly process: Pick<ProcessContext, 'sockets' | 'log'>;
  readonly maxConnections: number;
}

/** A local port at which the application reaches the mesh: one upstream, or any that it names. */
export class OutboundListener {
  readonly #server: Server;
  readonly #options: OutboundListenerOptions;
  readonly #sockets = new LinkedSet<Place<Socket>>();
  #lettingGo: NodeJS.Timeout | undefined;

  constructor(options: OutboundListenerOptions) {
    this.#options = options;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#onConnection(socket));
    this.#server.maxConnections = options.maxConnections;
  }

  /** @returns the bound port. Throws SLV-1004 when the address can't be had. */
  listen(address: SocketAddress): Promise<number> {
    return listenAt(this.#server, address, this.#options.process);
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  /**
   * No new connections; open ones end after what is under way.
   *
   * @param idleMs how long the idle ones may have a next request, which ends them in order; 0: they end now
   */
  drain(idleMs = 0): void {
    this.#server.close();
    const letGo = (): void => {
      for (const stream of this.#options.serving.all()) stream.drain();
    };
    clearTimeout(this.#lettingGo);
    if (idleMs === 0) letGo();
    else this.#lettingGo = setTimeout(letGo, idleMs);
  }

  close(): void {
    clearTimeout(this.#lettingGo);
    this.#server.close();
    for (const { of: socket } of this.#sockets.all()) socket.destroy();
  }

  #onConnection(socket: Socket): void {
    connectionTaken();
    const place = new Place(socket);
    this.#sockets.add(place);
    socket.once('close', () => this.#sockets.delete(place));
    this.#options.serve(socketStream(socket));
  }
}
