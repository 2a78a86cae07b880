import type { Clock } from '#runtime/clock.ts';
import type { OriginTunnel } from './tunnel/tunnel.ts';

/** Why no stream of a tunnel could be had. Both happened before a byte of the request was sent, so both are safe to retry elsewhere. */
export type LeaseFailure =
  /** No tunnel: TCP, TLS, or the peer was not who it must be. */
  | { readonly kind: 'connect-failure'; readonly reason: string }
  /** The tunnel's other end took no stream, or its application was not reached. */
  | { readonly kind: 'refused'; readonly reason: string };

/** What happens to one dialled tunnel, in this order: failure, or tunnel, then perhaps going away, then closed. */
export interface DialEvents {
  /** @param notAfterMs when the tunnel has to end: with the first of the two certificates */
  onTunnel(tunnel: OriginTunnel, notAfterMs: number): void;
  onFailure(reason: string): void;
  onGoAway(): void;
  onClose(reason: string | undefined): void;
}

/** Opens a connection to one place, and proves who is there where that matters. @returns a way to give up before `onTunnel` */
export type DialTunnel = (events: DialEvents) => () => void;

interface OpenTunnel {
  readonly tunnel: OriginTunnel;
  retired: boolean;
  readonly retirement: NodeJS.Timeout;
  readonly expiry: NodeJS.Timeout;
}

interface Waiter {
  readonly onTunnel: (tunnel: OriginTunnel) => void;
  readonly onFailure: (failure: LeaseFailure) => void;
}

/** Streams that may wait for one tunnel to be ready; beyond it the caller is refused at once instead of queueing without bound. */
const maxWaiting = 2_048;
/** Tunnels that take new streams, to one place: with a thousand streams each, more than a host has ports; a peer that takes none must not cost more. */
const maxTunnels = 32;
/** A timer's range. SVIDs live a day at the most; were one to live longer, its tunnel is replaced early rather than late. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * The HTTP/2 connections to one place: another proxy, for one local identity (blueprint 8: never shared between two local services), or the local application.
 * Usually one; a further one opens when streams run out. A tunnel is replaced at half of what is left of the shorter certificate's life, so that a new stream
 * never starts on a line about to be cut; its streams go on until the certificate ends.
 */
export class TunnelPool {
  readonly #dial: DialTunnel;
  readonly #clock: Clock;
  readonly #onRetire: () => void;
  readonly #onClosed: (reason: string | undefined) => void;
  /** Newest last; only the newest takes new streams unless it is full. */
  #tunnels: OpenTunnel[] = [];
  #dialling: (() => void) | undefined;
  #waiters: Waiter[] = [];
  #closed = false;

  /**
   * @param options.onRetire a tunnel takes no new streams: those kept for reuse are to be let go
   * @param options.onClosed a tunnel has closed, for the log
   */
  constructor(options: {
    dial: DialTunnel;
    clock: Clock;
    onRetire?: () => void;
    onClosed?: (reason: string | undefined) => void;
  }) {
    this.#dial = options.dial;
    this.#clock = options.clock;
    this.#onRetire = options.onRetire ?? (() => {});
    this.#onClosed = options.onClosed ?? (() => {});
  }

  /** Open tunnels, for the admin API. */
  get size(): number {
    return this.#tunnels.length;
  }

  /** A tunnel with a stream available now. */
  take(): OriginTunnel | undefined {
    for (let index = this.#tunnels.length - 1; index >= 0; index--) {
      const entry = this.#tunnels[index];
      if (entry !== undefined && !entry.retired && entry.tunnel.available > 0) return entry.tunnel;
    }
    return undefined;
  }

  /**
   * Waits for a tunnel: the one who gets it opens its stream in that call. Exactly one of the callbacks is called, once, at once or later, unless the returned
   * function was called before.
   */
  lease(onTunnel: (tunnel: OriginTunnel) => void, onFailure: (failure: LeaseFailure) => void): () => void {
    const tunnel = this.take();
    if (tunnel !== undefined) {
      onTunnel(tunnel);
      return () => {};
    }
    if (
      this.#closed ||
      this.#waiters.length >= maxWaiting ||
      this.#tunnels.filter(({ retired }) => !retired).length >= maxTunnels
    ) {
      let wanted = true;
      queueMicrotask(() => {
        const reason = this.#closed ? 'the endpoint went away' : 'too many streams wait for a tunnel';
        if (wanted) onFailure({ kind: 'refused', reason });
      });
      return () => {
        wanted = false;
      };
    }
    const waiter: Waiter = { onTunnel, onFailure };
    this.#waiters.push(waiter);
    this.#ensureDialling();
    return () => {
      const index = this.#waiters.indexOf(waiter);
      if (index >= 0) this.#waiters.splice(index, 1);
    };
  }

  /** Those that are open take no new streams; the next one has a tunnel of its own. */
  retire(): void {
    for (const entry of [...this.#tunnels]) this.#retire(entry);
  }

  close(): void {
    this.#closed = true;
    this.#dialling?.();
    this.#dialling = undefined;
    for (const { onFailure } of this.#waiters.splice(0))
      onFailure({ kind: 'refused', reason: 'the endpoint went away' });
    this.retire();
  }

  #ensureDialling(): void {
    if (this.#dialling !== undefined || this.#closed) return;
    let adopted: OpenTunnel | undefined;
    this.#dialling = this.#dial({
      onTunnel: (tunnel, notAfterMs) => {
        this.#dialling = undefined;
        adopted = this.#adopt(tunnel, notAfterMs);
      },
      onFailure: (reason) => {
        this.#dialling = undefined;
        for (const { onFailure } of this.#waiters.splice(0)) onFailure({ kind: 'connect-failure', reason });
      },
      onGoAway: () => {
        if (adopted !== undefined) this.#retire(adopted);
      },
      onClose: (reason) => {
        if (adopted === undefined) return;
        clearTimeout(adopted.retirement);
        clearTimeout(adopted.expiry);
        this.#tunnels = this.#tunnels.filter((other) => other !== adopted);
        this.#onClosed(reason);
      },
    });
  }

  #adopt(tunnel: OriginTunnel, notAfterMs: number): OpenTunnel {
    const left = Math.min(Math.max(0, notAfterMs - this.#clock()), longestTimerMs);
    const entry: OpenTunnel = {
      tunnel,
      retired: false,
      retirement: setTimeout(() => this.#retire(entry), left / 2),
      expiry: setTimeout(() => tunnel.close(), left),
    };
    entry.retirement.unref();
    entry.expiry.unref();
    this.#tunnels.push(entry);
    const waiting = this.#waiters.splice(0);
    for (const waiter of waiting) {
      if (tunnel.available > 0) waiter.onTunnel(tunnel);
      else this.#waiters.push(waiter);
    }
    if (this.#waiters.length > 0) this.#ensureDialling();
    return entry;
  }

  /** No new streams; those that run finish, then the tunnel closes by itself. */
  #retire(entry: OpenTunnel): void {
    if (entry.retired) return;
    entry.retired = true;
    clearTimeout(entry.retirement);
    entry.tunnel.goAway();
    this.#onRetire();
  }
}
