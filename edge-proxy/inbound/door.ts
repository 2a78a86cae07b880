import { createServer, type Server, type Socket } from 'node:net';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { SocketAddress } from '#runtime/socket-address.ts';
import { sourceNetwork } from '#runtime/source-network.ts';
import { handshakeTimeoutMs } from '#runtime/tls-identity.ts';
import { listenAt } from '../listen-at.ts';

/** Between the beginnings of two handshakes, ms. Each computes for about as long, so that half of the time is left for whatever else is due. */
const pauseMs = 1;
/** The same for a source that a flood has come from, and how long that lasts, ms. A handshake costs as much as fifty requests, and whoever is cut comes again at once. */
const slowPauseMs = 10;
const slowForMs = 1_000;

/** What a door leads to. */
export interface DoorOptions {
  /** Connections at once; of one source a quarter of them. */
  readonly maxConnections: number;
  /** Begins the handshake of a client that has said something; what it said waits in the socket. */
  readonly begin: (socket: Socket) => void;
  readonly process: Pick<ProcessContext, 'sockets' | 'log'>;
}

/**
 * Where TCP connections come in, before TLS. A handshake begins when its client has said something, one after the other, and the sources take turns: a flood of them makes nobody wait for long who is connected or who comes from elsewhere. One source (an address, a /64 of IPv6) gets a quarter of all places,
 * and who says nothing has as long as a handshake may take.
 */
export class Door {
  readonly #server: Server;
  readonly #options: DoorOptions;
  readonly #maxOfSource: number;
  /** Open connections by source, whatever has become of them. */
  readonly #open = new Map<string, number>();
  /** Whose handshake has not begun. */
  readonly #outside = new Set<Socket>();
  /** Of these, who has said something; the sources in the order of their turn. */
  readonly #waiting = new Map<string, Socket[]>();
  /** Who is slowed: until when, and when the next handshake may begin; ms, monotonic. */
  readonly #slowed = new Map<string, { readonly untilMs: number; nextMs: number }>();
  #isNextDue = false;

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#maxOfSource = Math.ceil(options.maxConnections / 4);
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#take(socket));
    this.#server.maxConnections = options.maxConnections;
  }

  /** @returns the bound port. Throws SLV-1004 when the address can't be had. */
  listen(address: SocketAddress): Promise<number> {
    return listenAt(this.#server, address, this.#options.process);
  }

  /** How many are there whose handshake has not begun. */
  get outside(): number {
    return this.#outside.size;
  }

  /** A flood has come from this address: for a second the handshakes of its source begin further apart. Others do not wait for it. */
  slow(address: string): void {
    const now = performance.now();
    for (const [source, { untilMs }] of this.#slowed) {
      if (untilMs > now) break;
      this.#slowed.delete(source);
    }
    const source = sourceNetwork(address);
    this.#slowed.delete(source);
    this.#slowed.set(source, { untilMs: now + slowForMs, nextMs: now + slowPauseMs });
  }

  /** No new connections; who is there goes on. */
  close(): void {
    this.#server.close();
  }

  /** Ends those whose handshake has not begun. */
  clear(): void {
    for (const socket of [...this.#outside]) socket.destroy();
  }

  #take(socket: Socket): void {
    socket.on('error', (err) => this.#options.process.log.debug({ err }, 'inbound connection broke'));
    const source = sourceNetwork(socket.remoteAddress ?? '');
    const open = this.#open.get(source) ?? 0;
    if (open >= this.#maxOfSource) {
      this.#options.process.log.debug({ source, open }, 'a connection more of one source than it may have open');
      socket.destroy();
      return;
    }
    this.#open.set(source, open + 1);
    this.#outside.add(socket);
    const silence = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
    socket.once('readable', () => {
      clearTimeout(silence);
      this.#enqueue(source, socket);
    });
    socket.once('close', () => {
      clearTimeout(silence);
      this.#outside.delete(socket);
      const left = (this.#open.get(source) ?? 1) - 1;
      if (left === 0) this.#open.delete(source);
      else this.#open.set(source, left);
    });
  }

  #enqueue(source: string, socket: Socket): void {
    const waiting = this.#waiting.get(source);
    if (waiting === undefined) this.#waiting.set(source, [socket]);
    else waiting.push(socket);
    if (!this.#isNextDue) this.#pause();
  }

  /** A timer alone would do without looking at the sockets where the handshake before has taken longer than the pause. */
  #pause(): void {
    this.#isNextDue = true;
    setTimeout(() => setImmediate(() => this.#beginOne()), pauseMs);
  }

  #beginOne(): void {
    const socket = this.#takeNext();
    this.#isNextDue = false;
    if (this.#waiting.size > 0) this.#pause();
    if (socket === undefined || socket.destroyed) return;
    this.#outside.delete(socket);
    // Closed without a word: nothing to shake hands about.
    if (socket.readableLength === 0) socket.destroy();
    else this.#options.begin(socket);
  }

  /** The first of the first source that may; the source then stands behind the others. */
  #takeNext(): Socket | undefined {
    const now = performance.now();
    for (const [source, sockets] of this.#waiting) {
      const slowed = this.#slowed.get(source);
      if (slowed !== undefined && slowed.nextMs > now) continue;
      if (slowed !== undefined && slowed.untilMs > now) slowed.nextMs = now + slowPauseMs;
      const socket = sockets.shift();
      this.#waiting.delete(source);
      if (sockets.length > 0) this.#waiting.set(source, sockets);
      return socket;
    }
    return undefined;
  }
}
