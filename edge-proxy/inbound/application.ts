import { connect } from 'node:net';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { type ByteStream, socketStream } from '../byte-stream.ts';
import { HttpClientStream } from '../http-client-stream.ts';

/** Connections kept open for the next request; a service under load needs about as many as requests are in flight. */
const maxFree = 256;

/** The local application behind an inbound listener: raw connections for TCP, kept-alive ones for HTTP. */
export class LocalApplication {
  readonly address: SocketAddress;
  readonly #connectTimeoutMs: number;
  readonly #free: HttpClientStream[] = [];
  readonly #all = new Set<HttpClientStream>();

  constructor(address: SocketAddress, connectTimeoutMs = 5_000) {
    this.address = address;
    this.#connectTimeoutMs = connectTimeoutMs;
  }

  /**
   * Connects to the application. Exactly one callback is called, once, unless the returned function was called before.
   *
   * @param onFailure gets the reason, such as ECONNREFUSED
   */
  connect(onConnected: (stream: ByteStream) => void, onFailure: (reason: string) => void): () => void {
    let settled = false;
    const socket = connect({ host: this.address.host, port: this.address.port, allowHalfOpen: true, noDelay: true });
    const fail = (reason: string): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      socket.destroy();
      onFailure(reason);
    };
    const timer = setTimeout(() => fail(`no connection within ${this.#connectTimeoutMs} ms`), this.#connectTimeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message));
    socket.once('connect', () => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      socket.removeAllListeners('error');
      onConnected(socketStream(socket));
    });
    return () => fail('given up');
  }

  /** A kept-alive HTTP connection, when there is one. */
  takeFree(): HttpClientStream | undefined {
    return this.#free.pop();
  }

  /** A fresh HTTP connection; callbacks as in `connect`. */
  openHttp(onStream: (stream: HttpClientStream) => void, onFailure: (reason: string) => void): () => void {
    return this.connect((bytes) => {
      const stream = new HttpClientStream(bytes, {
        give: (free) => {
          if (this.#free.length < maxFree) this.#free.push(free);
          else free.discard();
        },
        drop: (gone) => {
          this.#all.delete(gone);
          const index = this.#free.indexOf(gone);
          if (index >= 0) this.#free.splice(index, 1);
        },
      });
      this.#all.add(stream);
      onStream(stream);
    }, onFailure);
  }

  close(): void {
    for (const stream of [...this.#all]) stream.discard();
  }
}
