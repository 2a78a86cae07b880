import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import { errorCode } from '../tunnel/http2.ts';
import type { OriginTunnel } from '../tunnel/tunnel.ts';
import type { TunnelStream } from '../tunnel/tunnel-stream.ts';

/** Why a stream could not be had. All three happened before a byte of the request was sent, so all are safe to retry elsewhere. */
export type OpenFailure =
  /** No tunnel: TCP, TLS, or the peer was not who it must be. */
  | { readonly kind: 'connect-failure'; readonly reason: string }
  /** The tunnel's other end took no stream, or its application was not reached. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** An intention says no: never retried, never the endpoint's fault. */
  | { readonly kind: 'denied'; readonly decision: string | undefined; readonly reason: string };

/** What happens to one dialled tunnel, in this order: failure, or tunnel, then perhaps going away, then closed. */
export interface DialEvents {
  /** @param notAfterMs when the first of the two certificates ends, and the tunnel with it */
  onTunnel(tunnel: OriginTunnel, notAfterMs: number): void;
  onFailure(reason: string): void;
  onGoAway(): void;
  onClose(reason: string | undefined): void;
}

/** Opens the mTLS connection to one endpoint and proves the peer. @returns a way to give up before `onTunnel` */
export type DialEndpoint = (events: DialEvents) => () => void;

interface OpenTunnel {
  readonly tunnel: OriginTunnel;
  retired: boolean;
  readonly retirement: NodeJS.Timeout;
  readonly expiry: NodeJS.Timeout;
}

interface Waiter {
  readonly onStream: (stream: TunnelStream) => void;
  readonly onFailure: (failure: OpenFailure) => void;
  readonly timer: NodeJS.Timeout;
  /** Gives up the stream that was opened for it and has no answer yet. */
  abandon?: () => void;
}

/** Streams that may wait for one tunnel to be ready; beyond it the caller is refused at once instead of queueing without bound. */
const maxWaiting = 2_048;
/** Tunnels that take new streams, to one endpoint: with a thousand streams each, more than a host has ports; a peer that takes none must not cost more. */
const maxTunnels = 32;
/** What the far proxy says goes into logs and answers: bounded, and in the form that ours has. */
const maxReasonLength = 512;
const decisionForm = /^[0-9A-Za-z-]{1,64}$/;
/** A timer's range. SVIDs live a day at the most; were one to live longer, its tunnel is replaced early rather than late. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * The tunnels to one endpoint, for one local identity (blueprint 8: never shared between two local services). Usually one; a further one opens when streams
 * run out. A tunnel is replaced at half of what is left of the shorter certificate's life, so that a new stream never starts on a line about to be cut; its
 * streams go on until the certificate ends.
 */
export class EndpointTunnels {
  readonly #authority: string;
  readonly #dial: DialEndpoint;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onRetire: () => void;
  /** Newest last; only the newest takes new streams unless it is full. */
  #tunnels: OpenTunnel[] = [];
  #dialling: (() => void) | undefined;
  #waiters: Waiter[] = [];
  #closed = false;

  /**
   * @param options.authority `<service>.<datacenter>.<trust-domain>:<port>`
   * @param options.onRetire  a tunnel takes no new requests: streams kept for reuse are to be let go
   */
  constructor(options: { authority: string; dial: DialEndpoint; clock: Clock; log: Logger; onRetire: () => void }) {
    this.#onRetire = options.onRetire;
    this.#authority = options.authority;
    this.#dial = options.dial;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Open tunnels, for the admin API. */
  get size(): number {
    return this.#tunnels.length;
  }

  /**
   * Opens a stream: on a warm tunnel within this call's tick and one round trip, else after dialling.
   * Exactly one of the callbacks is called, once, unless the returned function was called before.
   */
  open(
    timeoutMs: number,
    onStream: (stream: TunnelStream) => void,
    onFailure: (failure: OpenFailure) => void,
  ): () => void {
    const timer = setTimeout(() => {
      cancel();
      onFailure({ kind: 'connect-failure', reason: `no stream within ${timeoutMs} ms` });
    }, timeoutMs);
    const waiter: Waiter = { onStream, onFailure, timer };
    const cancel = (): void => {
      clearTimeout(timer);
      const index = this.#waiters.indexOf(waiter);
      if (index >= 0) this.#waiters.splice(index, 1);
      waiter.abandon?.();
    };
    const tunnel = this.#usable();
    if (tunnel !== undefined) {
      this.#start(tunnel, waiter);
    } else if (
      this.#waiters.length >= maxWaiting ||
      this.#tunnels.filter(({ retired }) => !retired).length >= maxTunnels
    ) {
      clearTimeout(timer);
      queueMicrotask(() => onFailure({ kind: 'refused', reason: 'too many streams wait for a tunnel' }));
    } else {
      this.#waiters.push(waiter);
      this.#ensureDialling();
    }
    return cancel;
  }

  close(): void {
    this.#closed = true;
    this.#dialling?.();
    this.#dialling = undefined;
    for (const waiter of this.#waiters.splice(0))
      this.#fail(waiter, { kind: 'refused', reason: 'the endpoint went away' });
    for (const entry of this.#tunnels) this.#retire(entry);
  }

  #usable(): OriginTunnel | undefined {
    for (let index = this.#tunnels.length - 1; index >= 0; index--) {
      const entry = this.#tunnels[index];
      if (entry !== undefined && !entry.retired && entry.tunnel.available > 0) return entry.tunnel;
    }
    return undefined;
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
        for (const waiter of this.#waiters.splice(0)) this.#fail(waiter, { kind: 'connect-failure', reason });
      },
      onGoAway: () => {
        if (adopted !== undefined) this.#retire(adopted);
      },
      onClose: (reason) => {
        if (adopted === undefined) return;
        clearTimeout(adopted.retirement);
        clearTimeout(adopted.expiry);
        this.#tunnels = this.#tunnels.filter((other) => other !== adopted);
        this.#log.debug({ authority: this.#authority, reason }, 'tunnel closed');
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
      if (tunnel.available > 0) this.#start(tunnel, waiter);
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

  #start(tunnel: OriginTunnel, waiter: Waiter): void {
    let settled = false;
    const stream = tunnel.open(this.#authority, [], (status, headers) => {
      if (settled) return;
      settled = true;
      clearTimeout(waiter.timer);
      if (status === 200) {
        waiter.onStream(stream);
        return;
      }
      stream.reset('cancel'); // a 2xx that is not 200 left it open
      const field = (name: string): string => headers.find(([key]) => key === name)?.[1] ?? '';
      const reason = field('selvedge-reason').slice(0, maxReasonLength) || `the peer answered ${status}`;
      const decision = field('selvedge-decision');
      if (status === 403) {
        waiter.onFailure({ kind: 'denied', decision: decisionForm.test(decision) ? decision : undefined, reason });
      } else {
        waiter.onFailure({ kind: 'refused', reason });
      }
    });
    stream.handlers = {
      onData() {},
      onEnd() {},
      onDrain() {},
      onReset: (code) => {
        if (settled) return;
        settled = true;
        const reason = code === errorCode.refusedStream ? 'the peer took no stream' : `the tunnel broke (${code})`;
        this.#fail(waiter, { kind: 'refused', reason });
      },
    };
    waiter.abandon = () => {
      if (settled) return;
      settled = true;
      stream.reset('cancel');
    };
  }

  #fail(waiter: Waiter, failure: OpenFailure): void {
    clearTimeout(waiter.timer);
    waiter.onFailure(failure);
  }
}
