import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import { deferOpen } from '../deferred-open.ts';
import { errorCode } from '../tunnel/http2.ts';
import type { OriginTunnel } from '../tunnel/tunnel.ts';
import type { TunnelStream } from '../tunnel/tunnel-stream.ts';
import { type DialTunnel, type LeaseFailure, TunnelPool } from '../tunnel-pool.ts';

/** Why a stream could not be had. All of it happened before a byte of the request was sent, so all but a denial is safe to retry elsewhere. */
export type OpenFailure =
  | LeaseFailure
  /** An intention says no: never retried, never the endpoint's fault. */
  | { readonly kind: 'denied'; readonly decision: string | undefined; readonly reason: string };

/** What the far proxy says goes into logs and answers: bounded, and in the form that ours has. */
const maxReasonLength = 512;
const decisionForm = /^[0-9A-Za-z-]{1,64}$/;

/** The tunnels to one endpoint: opens CONNECT streams on them, and gives them out for requests. */
export class EndpointTunnels {
  readonly #authority: string;
  readonly #pool: TunnelPool;

  /**
   * @param options.authority `<service>.<datacenter>.<trust-domain>:<port>`
   * @param options.onRetire  a tunnel takes no new requests: streams kept for reuse are to be let go
   */
  constructor(options: { authority: string; dial: DialTunnel; clock: Clock; log: Logger; onRetire: () => void }) {
    const { authority, dial, clock, log, onRetire } = options;
    this.#authority = authority;
    this.#pool = new TunnelPool({
      dial,
      clock,
      onRetire,
      onClosed: (reason) => log.debug({ authority, reason }, 'tunnel closed'),
    });
  }

  /** Open tunnels, for the admin API. */
  get size(): number {
    return this.#pool.size;
  }

  /** A tunnel with a stream available now, for a request. */
  take(): OriginTunnel | undefined {
    return this.#pool.take();
  }

  /** Waits for a tunnel for a request, which is sent in that call. Exactly one of the callbacks is called, once, unless the returned function was called before. */
  lease(
    timeoutMs: number,
    onTunnel: (tunnel: OriginTunnel) => void,
    onFailure: (failure: OpenFailure) => void,
  ): () => void {
    return this.#within(timeoutMs, onFailure, (done) =>
      this.#pool.lease(
        (tunnel) => {
          if (done()) onTunnel(tunnel);
        },
        (failure) => {
          if (done()) onFailure(failure);
        },
      ),
    );
  }

  /**
   * Opens a CONNECT stream: on a warm tunnel within this call's tick and one round trip, else after dialling.
   * Exactly one of the callbacks is called, once, unless the returned function was called before.
   */
  open(
    timeoutMs: number,
    onStream: (stream: TunnelStream) => void,
    onFailure: (failure: OpenFailure) => void,
  ): () => void {
    return this.#within(timeoutMs, onFailure, (done) => {
      const settle = (outcome: TunnelStream | OpenFailure): void => {
        if (!done()) return;
        if ('reason' in outcome) onFailure(outcome);
        else onStream(outcome);
      };
      // The tunnel is shared: what is taken back at once costs it nothing.
      return deferOpen(() => {
        let abandon: (() => void) | undefined;
        const leave = this.#pool.lease((tunnel) => {
          abandon = this.#connect(tunnel, settle);
        }, settle);
        return () => (abandon ?? leave)();
      });
    });
  }

  close(): void {
    this.#pool.close();
  }

  /**
   * Runs something that settles once, or not within its time.
   *
   * @param start gets `done`, which answers true to the first who asks; answers how to give up
   */
  #within(
    timeoutMs: number,
    onFailure: (failure: OpenFailure) => void,
    start: (done: () => boolean) => () => void,
  ): () => void {
    let settled = false;
    let giveUp: (() => void) | undefined;
    const done = (): boolean => {
      if (settled) return false;
      settled = true;
      clearTimeout(timer);
      return true;
    };
    const timer = setTimeout(() => {
      if (!done()) return;
      giveUp?.();
      onFailure({ kind: 'connect-failure', reason: `no stream within ${timeoutMs} ms` });
    }, timeoutMs);
    giveUp = start(done);
    return () => {
      if (done()) giveUp?.();
    };
  }

  /** @returns gives up a stream that has no answer yet */
  #connect(tunnel: OriginTunnel, settle: (outcome: TunnelStream | OpenFailure) => void): () => void {
    let answered = false;
    const stream = tunnel.open(this.#authority, [], (status, headers) => {
      answered = true;
      if (status === 200) {
        settle(stream);
        return;
      }
      stream.reset('cancel'); // a 2xx that is not 200 left it open
      const field = (name: string): string => headers.find(([key]) => key === name)?.[1] ?? '';
      const reason = field('selvedge-reason').slice(0, maxReasonLength) || `the peer answered ${status}`;
      const decision = field('selvedge-decision');
      if (status !== 403) settle({ kind: 'refused', reason });
      else settle({ kind: 'denied', decision: decisionForm.test(decision) ? decision : undefined, reason });
    });
    stream.handlers = {
      onData() {},
      onEnd() {},
      onDrain() {},
      onReset: (code) => {
        if (answered) return;
        answered = true;
        const reason = code === errorCode.refusedStream ? 'the peer took no stream' : `the tunnel broke (${code})`;
        settle({ kind: 'refused', reason });
      },
    };
    return () => {
      if (answered) return;
      answered = true;
      stream.reset('cancel');
    };
  }
}
