import type { Duplex } from 'node:stream';
import { type ByteStream, type ByteStreamHandlers, idleHandlers } from '#edge-proxy/byte-stream.ts';

/** One end of a pair of streams in this process as a ByteStream: what is a socket elsewhere. */
export function duplexStream(duplex: Duplex): ByteStream {
  const stream = new DuplexStream(duplex);
  duplex.on('data', (chunk: Buffer) => stream.handlers.onData(chunk));
  duplex.on('end', () => stream.handlers.onEnd());
  duplex.on('drain', () => stream.handlers.onDrain());
  let fault: string | undefined;
  duplex.on('error', (error) => {
    fault = error.message;
  });
  duplex.on('close', () => stream.handlers.onClose(fault));
  return stream;
}

class DuplexStream implements ByteStream {
  handlers: ByteStreamHandlers = idleHandlers;
  readonly #duplex: Duplex;

  constructor(duplex: Duplex) {
    this.#duplex = duplex;
  }

  write(data: Buffer | string): boolean {
    if (!this.#duplex.writable) return true;
    return typeof data === 'string' ? this.#duplex.write(data, 'latin1') : this.#duplex.write(data);
  }

  end(): void {
    if (this.#duplex.writable) this.#duplex.end();
  }

  get flushed(): boolean {
    return this.#duplex.writableFinished;
  }

  destroy(): void {
    this.#duplex.destroy();
  }

  reset(): void {
    this.#duplex.destroy(new Error('reset'));
  }

  pause(): void {
    this.#duplex.pause();
  }

  resume(): void {
    this.#duplex.resume();
  }
}
