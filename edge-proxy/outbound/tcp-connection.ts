import type { ByteStream } from '../byte-stream.ts';
import type { IdleGuard } from '../idle-sweep.ts';
import { relay } from '../relay.ts';
import type { BreakerTicket } from '../resilience/breaker.ts';
import type { Drainable } from '../server-stream.ts';
import type { TunnelStream } from '../tunnel/tunnel-stream.ts';
import { tunnelByteStream } from '../tunnel-byte-stream.ts';
import type { Destination } from './destination.ts';
import type { Endpoint } from './endpoint.ts';
import type { OpenFailure } from './endpoint-tunnels.ts';
import type { ExchangeFailure } from './exchange-owner.ts';
import type { OutboundContext } from './http-connection.ts';
import { requestHash } from './request-hash.ts';
import type { ChosenEndpoint } from './target.ts';

/** How long bytes may go on under a protocol that is not the service's any more, ms: as long as a drain. */
const lastBytesMs = 30_000;

/** A caller that is told what came of its connection (CONNECT): others have none but the connection itself. */
export interface OpeningCaller {
  /** An instance has taken the connection: bytes follow. */
  joined(): void;
  /** It came to nothing. The connection is the caller's to end. */
  refused(failure: ExchangeFailure, decision: string): void;
}

/**
 * One TCP connection of the local application to an upstream: finds an instance that takes it, trying others while nothing has been sent, and joins the two.
 * The breaker sees whether a connection came about; what is said on it is the application's business.
 */
export class OutboundTcpConnection implements Drainable {
  before: Drainable | undefined;
  after: Drainable | undefined;
  linkedIn: object | undefined;
  ofUpstream: Drainable['ofUpstream'];
  readonly #client: ByteStream;
  readonly #context: OutboundContext;
  readonly #caller: OpeningCaller | undefined;
  readonly #destination: Destination;
  /** Of where it comes from, if that decides on the instance. */
  readonly #hash: number | undefined;
  readonly #startedMs = performance.now();
  readonly #deadlineMs: number;
  readonly #tried: Endpoint[] = [];
  #phase: 'opening' | 'backing-off' | 'joined' | 'done' = 'opening';
  #attempt = 0;
  /** It sends no more: an end behind which nothing waits is told even by a stream that is paused. */
  #clientEnded = false;
  #chosen: ChosenEndpoint | undefined;
  #ticket: BreakerTicket | undefined;
  #cancelOpen: (() => void) | undefined;
  #backingOff: NodeJS.Timeout | undefined;
  /** Its time is over soon. */
  #leaving: IdleGuard | undefined;
  #cut: ((fault: string) => void) | undefined;

  constructor(client: ByteStream, context: OutboundContext, caller?: OpeningCaller) {
    this.#client = client;
    this.#context = context;
    this.#caller = caller;
    const { upstream, edge } = context;
    const destination = upstream.forConnection();
    this.#destination = destination;
    // Nothing but its source can be hashed of bytes, and no cookie be set.
    const policies = destination.hashPolicies?.filter(({ on }) => on === 'source-ip');
    if (policies !== undefined) {
      const asked = { headers: [], query: '', sourceIp: client.peerAddress ?? '' };
      this.#hash = requestHash(policies, asked, upstream.newKey).hash;
    }
    const nowMs = destination.now();
    this.#deadlineMs = nowMs + destination.policy.requestTimeoutMs;
    destination.enter(nowMs);
    edge.connections.value += 1;
    edge.openConnections.value += 1;
    upstream.serve(this);
    client.handlers = {
      onData() {},
      onEnd: () => {
        this.#clientEnded = true;
      },
      onDrain() {},
      onClose: () => {
        this.#ticket?.cancelled();
        this.#finish();
      },
    };
    // Nothing is read before somebody takes it; a client that goes away meanwhile is noticed by its reset, or when it is joined.
    client.pause();
    this.#try();
  }

  /** The protocol has become another. Nobody can tell an application so that is sent bytes: it has the time of a drain. */
  drain(): void {
    const { sweep, upstream } = this.#context;
    this.#leaving ??= sweep.guard(lastBytesMs, () => {
      this.#leaving = undefined;
      if (this.#cut === undefined) this.#client.destroy();
      else this.#cut(`cut: ${upstream.name} is of protocol ${upstream.protocol} now`);
    });
  }

  #try(): void {
    const destination = this.#destination;
    this.#phase = 'opening';
    this.#attempt += 1;
    const choice = destination.choose(this.#tried, destination.policy.perTryTimeoutMs, this.#hash, destination.now());
    if (choice.kind === 'none') {
      this.#fail({ code: 'SLV-4002', reason: `no healthy instance of ${destination.name} is known` });
      return;
    }
    if (choice.kind === 'open') {
      this.#fail({ code: 'SLV-4003', reason: `the breaker of each instance of ${destination.name} is open` });
      return;
    }
    if (choice.kind === 'full') {
      this.#fail({ code: 'SLV-4006', reason: `${choice.most} connections to ${destination.name} are open` });
      return;
    }
    this.#chosen = choice;
    this.#ticket = choice.ticket;
    this.#cancelOpen = choice.endpoint.tunnels.open(
      choice.endpoint.connectTimeoutMs,
      (stream) => this.#join(stream, choice),
      (failure) => this.#onOpenFailure(failure, choice),
    );
  }

  #join(stream: TunnelStream, chosen: ChosenEndpoint): void {
    const { edge, sweep } = this.#context;
    this.#cancelOpen = undefined;
    this.#settle(chosen, true);
    this.#phase = 'joined';
    this.#caller?.joined();
    this.#cut = relay(this.#client, tunnelByteStream(stream), {
      sweep,
      idleTimeoutMs: this.#destination.policy.idleTimeoutMs,
      forward: edge.bytesSent,
      backward: edge.bytesReceived,
      onDone: (fault) => {
        this.#finish();
        this.#log(chosen.endpoint, fault);
      },
    });
    if (this.#clientEnded) this.#client.handlers.onEnd();
  }

  #onOpenFailure(failure: OpenFailure, chosen: ChosenEndpoint): void {
    const destination = this.#destination;
    this.#cancelOpen = undefined;
    if (failure.kind === 'denied') {
      this.#ticket?.cancelled();
      const { reason, decision } = failure;
      this.#fail({ code: 'SLV-4001', reason, ...(decision === undefined ? {} : { decision }) });
      return;
    }
    this.#settle(chosen, false);
    this.#leaveEndpoint();
    this.#tried.push(chosen.endpoint);
    // No byte of the application's has been sent: as safe to try again as a GET.
    const question = { method: 'GET', attempt: this.#attempt, answerBegan: false, bodyReplayable: true };
    const remainingMs = this.#deadlineMs - destination.now();
    const { retries } = destination.policy;
    if (!destination.mayRetry(retries, { ...question, failed: { kind: failure.kind }, remainingMs })) {
      this.#fail({ code: 'SLV-4005', reason: failure.reason });
      return;
    }
    this.#phase = 'backing-off';
    this.#backingOff = setTimeout(() => this.#try(), destination.backoff(retries, this.#attempt));
  }

  #settle({ target, endpoint }: ChosenEndpoint, success: boolean): void {
    if (success) this.#ticket?.success();
    else this.#ticket?.failure();
    this.#ticket = undefined;
    target.note(endpoint, success);
  }

  #fail(failure: ExchangeFailure): void {
    this.#finish();
    this.#refuse(failure);
  }

  /** Plain TCP has no way to hand a reason to the application: the log and the decision have it. */
  #refuse(failure: ExchangeFailure): void {
    const { code, reason, decision } = failure;
    const { traffic, edge, service, upstream } = this.#context;
    if (code === 'SLV-4001') edge.denied.value += 1;
    const { id } = traffic.refuse({
      direction: 'outbound',
      source: service,
      destination: upstream.name,
      code,
      rule: decision === undefined ? 'resilience' : `decision ${decision} of the far proxy`,
      reason,
    });
    if (this.#caller === undefined) this.#client.destroy();
    else this.#caller.refused(failure, decision ?? id);
  }

  #leaveEndpoint(): void {
    this.#chosen?.target.leave(this.#chosen.endpoint);
    this.#chosen = undefined;
  }

  /** Gives back all that is held; the second time there is nothing. */
  #finish(): void {
    if (this.#phase === 'done') return;
    this.#phase = 'done';
    this.#cancelOpen?.();
    this.#cancelOpen = undefined;
    clearTimeout(this.#backingOff);
    this.#context.upstream.leave(this);
    if (this.#leaving !== undefined) this.#context.sweep.release(this.#leaving);
    this.#ticket = undefined;
    this.#leaveEndpoint();
    this.#context.edge.openConnections.value -= 1;
    this.#destination.leave();
  }

  #log(endpoint: Endpoint, fault: string | undefined): void {
    const { traffic, service, upstream } = this.#context;
    if (!traffic.wants(fault === undefined ? 200 : 502)) return;
    traffic.access({
      direction: 'outbound',
      source: service,
      destination: upstream.name,
      protocol: 'tcp',
      durationMs: Math.round(performance.now() - this.#startedMs),
      endpoint: endpoint.id,
      attempts: this.#attempt,
      ...(fault === undefined ? {} : { reason: fault }),
    });
  }
}
