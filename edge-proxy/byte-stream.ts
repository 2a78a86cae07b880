import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { plainAddress } from '#runtime/socket-address.ts';
import { readFrom } from './direct-reads.ts';
import { fairTurns } from './tunnel/fair-turns.ts';
import { atTurnEnd } from './turn.ts';

/**
 * Two-way bytes with half-close and back-pressure: what a TCP socket, a TLS socket and a tunnel's stream have in common. Callbacks, no promises, no
 * node:stream pipes: this is the per-request path.
 */
export interface ByteStream {
  /** Set by the owner; may change hands when the stream is reused. */
  handlers: ByteStreamHandlers;
  /** IP address at the other end, where this is a socket of its own. */
  readonly peerAddress?: string;
  /** Writes bytes, or text as latin1. False: wait for `onDrain` before writing more. A write after the end is dropped. */
  write(data: Buffer | string): boolean;
  /** As `write`, of bytes that are there during the call only. Absent: they have to be copied. */
  writePassing?(data: Buffer): boolean;
  /** As `write`, of bytes that their owner uses again once `written` was called, which one that breaks does not do. Absent: they have to be copied. */
  writeLent?(data: Buffer, written: () => void): boolean;
  /** What is written until `uncork` leaves together. Absent where that costs nothing anyway. */
  cork?(): void;
  uncork?(): void;
  /** No more bytes from our side. */
  end(): void;
  /** As `end`, of a connection whose other side sends no more, and need not be waited for. Absent: it takes its turn, as after `end`. */
  close?(): void;
  /** After `end`: all that was written has been handed on. */
  readonly flushed: boolean;
  /** Both directions at once; `onClose` follows. A TCP peer may take it for an orderly end. */
  destroy(): void;
  /** As `destroy`, so that the peer sees that something broke: half an answer must not look like a whole one. */
  reset(): void;
  pause(): void;
  resume(): void;
}

export interface ByteStreamHandlers {
  /** The chunk may be kept: nobody writes into it again. */
  onData(chunk: Buffer): void;
  /** As `onData`, of bytes that are there during the call only, as much read at once may be. Absent: `onData` has a copy. */
  onPassing?(bytes: Buffer): void;
  /** The other side will send no more. */
  onEnd(): void;
  onDrain(): void;
  /** Both directions have ended and nothing waits to be sent, or it broke; once, last. `fault` is the reason when it was not an orderly end. */
  onClose(fault: string | undefined): void;
}

/** Handlers that do nothing: a stream between owners. */
export const idleHandlers: ByteStreamHandlers = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

/** A connected TCP or TLS socket as a ByteStream. The socket must allow half-open (`allowHalfOpen: true`). */
export function socketStream(socket: Socket): ByteStream {
  const stream = new SocketStream(socket);
  readFrom(
    socket,
    (chunk) => stream.read(chunk),
    (bytes) => stream.readPassing(bytes),
  );
  socket.on('end', () => stream.readEnd());
  socket.on('drain', () => stream.handlers.onDrain());
  let fault: string | undefined;
  socket.on('error', (error: NodeJS.ErrnoException) => {
    fault = error.code ?? error.message;
  });
  socket.on('close', () => stream.readClose(fault));
  return stream;
}

/** Bytes read ahead while paused: a peer that is gone shows all the same, as long as it did not send more. */
const maxHeldBytes = 65_536;

/** What is written in one piece of this size or more is part of something larger, bytes. */
const bulkPiece = 4_096;

class SocketStream implements ByteStream {
  handlers: ByteStreamHandlers = idleHandlers;
  readonly #socket: Socket;
  #paused = false;
  /** Read while paused. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #delivering = false;
  /** The other side's end: `due` while paused. */
  #end: 'none' | 'due' | 'told' = 'none';
  /** Both sides have ended, and that is told behind what is held. */
  #closeDue = false;
  /** What is written waits for the end of the turn. */
  #gathering = false;
  /** That of the last piece. */
  #writtenInTurn = -1;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get peerAddress(): string {
    return plainAddress(this.#socket.remoteAddress ?? '');
  }

  read(chunk: Buffer): void {
    if (!this.#paused) {
      this.handlers.onData(chunk);
      return;
    }
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    if (this.#heldBytes >= maxHeldBytes) this.#socket.pause();
  }

  /** @returns false: nobody here wants them so */
  readPassing(bytes: Buffer): boolean {
    if (this.#paused || this.handlers.onPassing === undefined) return false;
    this.handlers.onPassing(bytes);
    return true;
  }

  readEnd(): void {
    this.#end = 'due';
    if (!this.#paused) this.#tellEnd();
  }

  readClose(fault: string | undefined): void {
    if (fault !== undefined || this.#end !== 'due' || !this.#socket.writableFinished) {
      this.#over(fault);
      return;
    }
    this.#closeDue = true;
    // Who went on between the end and this close was told nothing, and does not ask again.
    if (!this.#paused) this.resume();
  }

  write(data: Buffer | string): boolean {
    const socket = this.#socket;
    if (!socket.writable) return true;
    if (typeof data === 'string') return socket.write(data, 'latin1');
    const { turn } = fairTurns;
    if (data.length >= bulkPiece || turn === this.#writtenInTurn) this.#gather();
    this.#writtenInTurn = turn;
    if (socket.write(data)) return true;
    // Enough is gathered, and may all be the kernel's in this call.
    this.#letGo();
    return socket.writableLength < socket.writableHighWaterMark;
  }

  writeLent(data: Buffer, written: () => void): boolean {
    if (!this.#socket.writable) return true;
    return this.#socket.write(data, (error) => (error == null ? written() : undefined));
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  /** A tunnel brings bulk in pieces of a record of TLS or less, and may bring an octet at a time, each of them a write: those of one turn leave together. */
  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    this.#socket.cork();
    atTurnEnd(this.#letGo);
  }

  readonly #letGo = (): void => {
    if (!this.#gathering) return;
    this.#gathering = false;
    this.#socket.uncork();
  };

  end(): void {
    if (this.#end === 'told') this.close();
    else if (this.#socket.writable) this.#socket.end();
  }

  close(): void {
    // What was written is the kernel's then, which sends it before the end; TLS has a word to say first.
    if (this.#socket.writableLength === 0 && !(this.#socket instanceof TLSSocket)) this.#socket.destroy();
    else if (this.#socket.writable) this.#socket.end();
  }

  get flushed(): boolean {
    return this.#socket.writableFinished;
  }

  destroy(): void {
    this.#drop();
    this.#letGo();
    this.#socket.destroy();
  }

  reset(): void {
    this.#drop();
    // TLS needs no reset: its end is missing then (RFC 8446 6.1). Behind our own end none can be had, and to ask for one would leave the handle open (libuv).
    if (this.#socket instanceof TLSSocket || this.#socket.writableEnded) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      while (!this.#paused && (this.#closeDue || !this.#socket.destroyed)) {
        const chunk = this.#held.shift();
        if (chunk === undefined) break;
        this.#heldBytes -= chunk.length;
        this.handlers.onData(chunk);
      }
    } finally {
      this.#delivering = false;
    }
    if (this.#paused || (this.#socket.destroyed && !this.#closeDue)) return;
    if (this.#end === 'due') this.#tellEnd();
    else this.#socket.resume();
  }

  #tellEnd(): void {
    this.#end = 'told';
    this.handlers.onEnd();
    this.#tellClose();
  }

  #tellClose(): void {
    if (!this.#closeDue) return;
    this.#closeDue = false;
    this.#over(undefined);
  }

  /** Node's socket outlives its connection until a full collection of garbage (docs/performance/hostile-peers.md); who had it need not. */
  #over(fault: string | undefined): void {
    const { handlers } = this;
    this.handlers = idleHandlers;
    handlers.onClose(fault);
  }

  /** What is held is wanted by nobody. */
  #drop(): void {
    this.#held = [];
    this.#end = 'told';
    if (this.#closeDue) queueMicrotask(() => this.#tellClose());
  }
}

/**
 * A paused stream that changes hands with bytes of it read already: these are told first, when it is resumed.
 *
 * @param ended its end has been read, too
 */
export function withRest(stream: ByteStream, rest: Buffer, ended: boolean): ByteStream {
  if (rest.length === 0 && !ended) return stream;
  return new RestStream(stream, rest, ended);
}

class RestStream implements ByteStream {
  readonly #stream: ByteStream;
  #rest: Buffer | undefined;
  #ended: boolean;
  #paused = true;

  constructor(stream: ByteStream, rest: Buffer, ended: boolean) {
    this.#stream = stream;
    this.#rest = rest;
    this.#ended = ended;
  }

  get handlers(): ByteStreamHandlers {
    return this.#stream.handlers;
  }

  set handlers(handlers: ByteStreamHandlers) {
    this.#stream.handlers = handlers;
  }

  get peerAddress(): string {
    return this.#stream.peerAddress ?? '';
  }

  get flushed(): boolean {
    return this.#stream.flushed;
  }

  write(data: Buffer | string): boolean {
    return this.#stream.write(data);
  }

  end(): void {
    this.#stream.end();
  }

  destroy(): void {
    this.#stream.destroy();
  }

  reset(): void {
    this.#stream.reset();
  }

  pause(): void {
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    this.#paused = false;
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined && rest.length > 0) this.handlers.onData(rest);
    if (this.#paused) return;
    if (this.#ended) {
      this.#ended = false;
      this.handlers.onEnd();
    }
    this.#stream.resume();
  }
}
