import type { Socket } from 'node:net';

/** Kept at once, a sixteenth of all places where those are few; and of one peer. */
const maxKept = 256;
const maxOfPeer = 32;
/** Between the ends of two of one peer, ms: together they would come again together, and the first of them that is cut again has the others wait. */
const apartMs = 100;

interface Kept {
  readonly whose: string;
  readonly endMs: number;
  readonly end: NodeJS.Timeout;
}

/**
 * Connections of peers that have to stay away: left open for that time, and read no more. Closed, they would be dialled again at once, and a handshake costs more than most floods;
 * so whoever waits for the end of one waits (Envoy's `delayed_close_timeout`). Each keeps its place among the connections of its source and of all.
 */
export class Unheard {
  readonly #max: number;
  readonly #kept = new Map<Socket, Kept>();

  /** @param maxConnections of all kinds at once */
  constructor(maxConnections: number) {
    this.#max = Math.min(maxKept, Math.floor(maxConnections / 16));
  }

  has(socket: Socket): boolean {
    return this.#kept.has(socket);
  }

  /**
   * What was written still leaves.
   *
   * @param whose it is: those of one peer end one after the other
   * @param ms    for how long at least
   * @returns false: it is gone, or there are too many, and it is the caller's to end
   */
  keep(socket: Socket, whose: string, ms: number): boolean {
    if (socket.destroyed || this.#kept.size >= this.#max) return false;
    const others = [...this.#kept.values()].filter((other) => other.whose === whose);
    if (others.length >= maxOfPeer) return false;
    socket.pause();
    const now = performance.now();
    const endMs = Math.max(now + ms, ...others.map((other) => other.endMs + apartMs));
    this.#kept.set(socket, { whose, endMs, end: setTimeout(() => socket.destroy(), endMs - now) });
    socket.once('close', () => {
      clearTimeout(this.#kept.get(socket)?.end);
      this.#kept.delete(socket);
    });
    return true;
  }

  /** Ends them. */
  clear(): void {
    for (const socket of this.#kept.keys()) socket.destroy();
  }
}
