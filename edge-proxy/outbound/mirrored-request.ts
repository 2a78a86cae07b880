import { type ErrorCode, errorCatalogue } from '#policies/errors/catalogue.ts';
import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { ByteStream } from '../byte-stream.ts';
import type { OutgoingRequest } from '../client-stream.ts';
import type { ResponseHead } from '../http1/message.ts';
import type { IdleGuard, IdleSweep } from '../idle-sweep.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import type { Destination } from './destination.ts';
import type { ExchangeFailure, ExchangeOwner } from './exchange-owner.ts';
import { HttpExchange } from './http-exchange.ts';

/**
 * A copy of a request on its way to a service that is being tried out. It is sent once, its answer is dropped, and whatever becomes of it, the caller does not
 * notice: where it can't keep up with the request it is given up, and no more of them are under way than the bulkhead of its destination allows.
 */
export class MirroredRequest implements ExchangeOwner {
  readonly #exchange: HttpExchange;
  readonly #destination: Destination;
  readonly #sweep: IdleSweep;
  readonly #guard: IdleGuard;
  readonly #startedMs = performance.now();
  #status = 0;
  #whole = false;
  #over = false;

  constructor(destination: Destination, request: OutgoingRequest, sweep: IdleSweep) {
    this.#destination = destination;
    this.#sweep = sweep;
    // Nobody waits for the end of the answer, so nobody else would notice that it does not come.
    this.#guard = sweep.guard(destination.policy.requestTimeoutMs, () => this.#giveUp());
    this.#exchange = new HttpExchange(destination, onceOnly(destination.policy), request, this, undefined);
    this.#exchange.start();
  }

  sendBody(chunk: Buffer): void {
    if (!this.#over && !this.#exchange.sendBody(chunk)) this.#giveUp();
  }

  endBody(trailers: HeaderFields | undefined): void {
    this.#whole = true;
    if (!this.#over) this.#exchange.endBody(trailers);
  }

  /** No more of the request will come. */
  leave(): void {
    if (!this.#whole) this.#giveUp();
  }

  answerHead(head: ResponseHead): void {
    this.#status = head.status;
  }

  answerComplete(): void {
    this.#end();
  }

  answerFailed({ code }: ExchangeFailure): void {
    this.#status = errorCatalogue[code].status;
    this.#end();
  }

  /** Its head was an answer; the rest is missed by nobody, but that it is missing is a failure. */
  answerCut(code: ErrorCode): void {
    this.#status = errorCatalogue[code].status;
    this.#end();
  }

  /** What was asked to be upgraded is not mirrored; an application that does it all the same is left. */
  answerUpgraded(_head: ResponseHead, stream: ByteStream): void {
    stream.destroy();
    this.#giveUp();
  }

  answerInformational(): void {}
  answerBody(): void {}
  answerFlush(): void {}
  requestDrained(): void {}

  #giveUp(): void {
    this.#end();
    this.#exchange.cancel();
  }

  /** Counted as a call of whom it went to: by its answer, by what came in the place of one, or 499 where it was given up. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#sweep.release(this.#guard);
    this.#destination.edge.request(this.#status || 499, performance.now() - this.#startedMs);
  }
}

const policies = new WeakMap<ResiliencePolicy, ResiliencePolicy>();

/** The policy without retries: made once for each. */
function onceOnly(policy: ResiliencePolicy): ResiliencePolicy {
  const known = policies.get(policy);
  if (known !== undefined) return known;
  const once = { ...policy, retries: { ...policy.retries, attempts: 0 } };
  policies.set(policy, once);
  return once;
}
