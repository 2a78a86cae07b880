import type { Socket } from 'node:net';
import type { Logger } from '../logging.ts';
import type { DnsResponder } from './responder.ts';
import { isLoopbackSource } from './source-limits.ts';
import { splitFrames, writeFrame } from './tcp-framing.ts';

/** Connections at once: of all, and of one source that is not this host. */
const maxConnections = 512;
const maxPerSource = 32;
/** A connection that says nothing this long is closed (RFC 7766 6.2.3: a few seconds). */
const idleMs = 10_000;
/** A query is small; a connection that announces more is up to something else. */
const maxQueryBytes = 4_096;
/** Answers under way on one connection; with this many its next queries are not read. */
const maxPipelined = 64;

/** Whoever asks by TCP. Answers may overtake one another (RFC 7766 6.2.1.1): each carries its id. */
export class TcpAskers {
  readonly #responder: DnsResponder;
  readonly #log: Logger;
  readonly #sockets = new Set<Socket>();
  readonly #bySource = new Map<string, number>();

  constructor(responder: DnsResponder, log: Logger) {
    this.#responder = responder;
    this.#log = log;
  }

  /** Serves a connection, or closes it where there are too many. */
  take(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const ofSource = this.#bySource.get(address) ?? 0;
    if (this.#sockets.size >= maxConnections || (ofSource >= maxPerSource && !isLoopbackSource(address))) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    this.#bySource.set(address, ofSource + 1);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      const left = (this.#bySource.get(address) ?? 1) - 1;
      if (left === 0) this.#bySource.delete(address);
      else this.#bySource.set(address, left);
    });
    // Resets and timeouts of others are no news.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.setNoDelay(true);
    this.#serve(socket, address);
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: Socket, address: string): void {
    let pending: Buffer = Buffer.alloc(0);
    let underway = 0;
    const flow = (): void => {
      if (underway >= maxPipelined || socket.writableNeedDrain) socket.pause();
      else socket.resume();
    };
    const answered = (answer: Uint8Array): void => {
      if (!socket.destroyed) socket.write(writeFrame(answer));
    };
    socket.on('drain', flow);
    socket.on('data', (chunk: Buffer) => {
      const { frames, rest } = splitFrames(pending.length === 0 ? chunk : Buffer.concat([pending, chunk]));
      pending = rest;
      if (pending.length >= 2 && pending.readUInt16BE(0) > maxQueryBytes) {
        socket.destroy();
        return;
      }
      for (const frame of frames) {
        const answer = this.#responder.respond(frame, { address, transport: 'tcp' });
        if (!(answer instanceof Promise)) {
          if (answer !== undefined) answered(answer);
          continue;
        }
        underway += 1;
        answer
          .then(answered, (err: unknown) => this.#log.error({ err }, 'DNS answer failed'))
          .finally(() => {
            underway -= 1;
            flow();
          });
      }
      flow();
    });
  }
}
