import type { Socket } from 'node:net';

/** Kept at once; a sixteenth of all places where those are few. */
const maxKept = 256;

/**
 * Connections of peers that have to stay away: left open for that time, and read no more. Closed, they would be dialled again at once, and a handshake costs more than most floods;
 * so whoever waits for the end of one waits (Envoy's `delayed_close_timeout`). Each keeps its place among the connections of its source and of all.
 */
export class Unheard {
  readonly #max: number;
  readonly #kept = new Map<Socket, NodeJS.Timeout>();

  /** @param maxConnections of all kinds at once */
  constructor(maxConnections: number) {
    this.#max = Math.min(maxKept, Math.floor(maxConnections / 16));
  }

  has(socket: Socket): boolean {
    return this.#kept.has(socket);
  }

  /** What was written still leaves. @returns false: there are too many, and it is the caller's to end */
  keep(socket: Socket, ms: number): boolean {
    if (this.#kept.size >= this.#max) return false;
    socket.pause();
    this.#kept.set(
      socket,
      setTimeout(() => socket.destroy(), ms),
    );
    socket.once('close', () => {
      clearTimeout(this.#kept.get(socket));
      this.#kept.delete(socket);
    });
    return true;
  }

  /** Ends them. */
  clear(): void {
    for (const socket of this.#kept.keys()) socket.destroy();
  }
}
