import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import type { OpenStreams } from './open-streams.ts';
import { statusOf } from './rpc-error.ts';
import type { Workload } from './workload.ts';

/** What serves one socket. */
export interface Serving {
  readonly workload: Workload;
  readonly trust: TrustSource;
  readonly streams: OpenStreams;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A call whose answers are a stream. */
type AnsweredByStream<Response> = ServerWritableStream<object, Response> | ServerDuplexStream<object, Response>;

/**
 * Follows the workload for one call: asks `next` for a message now (`update`) and at each change. A client that reads slowly is not queued for: what it gets,
 * when it reads again, is the newest.
 */
export class StateStream<Response extends object> {
  readonly #call: AnsweredByStream<Response>;
  readonly #serving: Serving;
  readonly #next: () => Response | undefined;
  readonly #ends: (() => void)[] = [];
  #flow: 'open' | 'blocked' | 'blocked, changed' | 'ended' = 'open';

  /** @param next the message to send now, undefined for none; a throw ends the call. Throws RpcError when the socket has too many streams */
  constructor(call: AnsweredByStream<Response>, serving: Serving, next: () => Response | undefined) {
    this.#call = call;
    this.#serving = serving;
    this.#next = next;
    this.#ends.push(serving.streams.admit((error) => this.fail(error)));
    this.#ends.push(serving.workload.onChange(() => this.update()));
    call.on('cancelled', () => this.end());
    call.on('close', () => this.end());
  }

  /** Sends what `next` gives, if the client reads; else as soon as it does. */
  update(): void {
    if (this.#flow === 'ended') return;
    if (this.#flow !== 'open') {
      this.#flow = 'blocked, changed';
      return;
    }
    try {
      const message = this.#next();
      if (message === undefined || this.#call.write(message)) return;
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#flow = 'blocked';
    this.#call.once('drain', () => {
      if (this.#flow === 'ended') return;
      const changed = this.#flow === 'blocked, changed';
      this.#flow = 'open';
      if (changed) this.update();
    });
  }

  /** Ends the call with a status. */
  fail(error: unknown): void {
    if (this.#flow === 'ended') return;
    this.end();
    this.#call.emit('error', statusOf(error, this.#serving.log));
  }

  /** Ends the call; without a further word of ours it ends well. */
  end(): void {
    if (this.#flow === 'ended') return;
    this.#flow = 'ended';
    for (const end of this.#ends) end();
  }
}
