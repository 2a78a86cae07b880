import { connect, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { connect as connectTls } from 'node:tls';
import type { Svid } from '#runtime/svid/svid.ts';
import { waitFor } from './wait-for.ts';

/** One end of a connection, byte by byte: what was sent is what was said, and what came is kept as it came. For either end of a TCP or TLS connection. */
export class RawPeer {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  /** Bytes that came. */
  length = 0;
  /** The other side has ended its direction. */
  ended = false;
  closed = false;
  fault: string | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.length += chunk.length;
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.fault = error.code ?? error.message;
    });
  }

  /** All that came. */
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** All that came, latin1. */
  get text(): string {
    return this.bytes.toString('latin1');
  }

  /** Status of the first answer; 0: none has come. */
  get status(): number {
    return Number(/^HTTP\/1\.1 (\d{3}) /.exec(this.text)?.[1] ?? 0);
  }

  send(data: string | Uint8Array): this {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
    return this;
  }

  /** No more from this side. */
  end(): this {
    this.socket.end();
    return this;
  }

  /** Waits until all of `texts` have come. */
  async until(...texts: readonly string[]): Promise<string> {
    await this.untilTrue(JSON.stringify(texts), () => texts.every((text) => this.text.includes(text)));
    return this.text;
  }

  async untilTrue(what: string, condition: () => boolean, timeoutMs?: number): Promise<void> {
    try {
      await waitFor(what, condition, timeoutMs);
    } catch (cause) {
      throw new Error(`${String(cause)}; what came last: ${JSON.stringify(this.text.slice(-300))}`, { cause });
    }
  }

  async untilEnded(): Promise<void> {
    await this.untilTrue('the end of a connection', () => this.ended || this.closed);
  }
}

/** A TCP client that half-closes like the tools of old. */
export function dial(port: number, host = '127.0.0.1'): RawPeer {
  return new RawPeer(connect({ port, host, allowHalfOpen: true, noDelay: true }));
}

/** A TLS client that shows `svid` and believes everything: the server's side is what is tested. Resolves after the handshake, or its failure. */
export async function dialTlsPeer(
  port: number,
  svid: Pick<Svid, 'chainPem' | 'keyPem'> | undefined,
  options: Pick<ConnectionOptions, 'ALPNProtocols' | 'maxVersion' | 'minVersion' | 'session'> = {},
): Promise<{ peer: RawPeer; socket: TLSSocket }> {
  const all: ConnectionOptions = {
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ...(svid === undefined ? {} : { cert: svid.chainPem, key: svid.keyPem }),
    ...options,
  };
  // The types do not know it, TLS sockets do.
  const socket = connectTls(Object.assign(all, { allowHalfOpen: true }));
  const peer = new RawPeer(socket);
  await new Promise<void>((resolve) => {
    socket.once('secureConnect', resolve);
    socket.once('close', () => resolve());
  });
  return { peer, socket };
}
