import { type ByteStream, type ByteStreamHandlers, idleHandlers } from './byte-stream.ts';
import type { ResetReason, TunnelStream, TunnelStreamHandlers } from './tunnel/tunnel-stream.ts';

/**
 * A stream of a tunnel as a ByteStream. Takes the stream's handlers over.
 *
 * @param peerAddress of who has opened it, where that is known
 * @param broken      what TCP's reset is for it: of a CONNECT an error of its own, of a WebSocket a cancel (RFC 8441 5)
 */
export function tunnelByteStream(
  stream: TunnelStream,
  peerAddress?: string,
  broken: ResetReason = 'connect',
): ByteStream {
  return new TunnelByteStream(stream, peerAddress, broken);
}

/** It is the stream's handlers itself: a peer that opens a thousand streams and says nothing holds little by each. */
class TunnelByteStream implements ByteStream, TunnelStreamHandlers {
  handlers: ByteStreamHandlers = idleHandlers;
  flushed = false;
  readonly peerAddress: string;
  readonly #stream: TunnelStream;
  readonly #broken: ResetReason;
  #remoteEnded = false;
  #closed = false;

  constructor(stream: TunnelStream, peerAddress = '', broken: ResetReason) {
    this.#stream = stream;
    this.#broken = broken;
    this.peerAddress = peerAddress;
    stream.handlers = this;
  }

  // What the stream tells.

  onData(chunk: Buffer): void {
    this.handlers.onData(chunk);
  }

  onDrain(): void {
    this.handlers.onDrain();
  }

  onEnd(): void {
    this.#remoteEnded = true;
    this.handlers.onEnd();
    this.#closeIfEnded();
  }

  onFinish(): void {
    this.flushed = true;
    this.#closeIfEnded();
  }

  onReset(code: number): void {
    this.#close(`stream reset (${code})`);
  }

  // The owner's side.

  write(data: Buffer | string): boolean {
    return this.#stream.write(data);
  }

  writePassing(data: Buffer): boolean {
    return this.#stream.writePassing(data);
  }

  end(): void {
    this.#stream.end();
  }

  destroy(): void {
    this.#abandon('cancel');
  }

  reset(): void {
    this.#abandon(this.#broken);
  }

  #abandon(reason: ResetReason): void {
    if (this.#closed) return;
    this.#stream.reset(reason);
    // As a socket does: the owner hears of its own destroy, later.
    queueMicrotask(() => this.#close(undefined));
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  #closeIfEnded(): void {
    if (this.flushed && this.#remoteEnded) queueMicrotask(() => this.#close(undefined));
  }

  #close(fault: string | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.handlers.onClose(fault);
  }
}
