import { type ErrorCode, errorCatalogue } from '#policies/errors/catalogue.ts';
import { serviceOfHost } from '#policies/mesh-host.ts';
import { defaultResiliencePolicy } from '#policies/resilience.ts';
import type { ByteStream } from '../byte-stream.ts';
import { HttpServerStream } from '../http-server-stream.ts';
import { encodeError } from '../http1/error-response.ts';
import type { Refusal } from '../http1/fault.ts';
import { encodeResponseHead } from '../http1/head-encoder.ts';
import type { RequestHead } from '../http1/message.ts';
import type { RequestSink, ServingContext } from '../server-stream.ts';
import type { Traffic } from '../traffic.ts';
import { wireOf } from '../wire-protocol.ts';
import type { ExchangeFailure } from './exchange-owner.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';
import { serveConnection } from './serve-connection.ts';
import { OutboundTcpConnection } from './tcp-connection.ts';
import type { Upstream } from './upstream.ts';
import type { Found, UpstreamSet } from './upstream-set.ts';

/** What all connections of a port share at which the application names the service. */
export interface NamedContext extends ServingContext {
  readonly service: string;
  readonly datacenter: string;
  readonly upstreams: UpstreamSet;
  readonly traffic: Traffic;
  /** What connections to one upstream share. */
  contextOf(upstream: Upstream): OutboundContext;
}

/** How long the answer to a refused CONNECT may take to leave. */
const farewellMs = 2_000;

/**
 * One connection of the local application that names, in each request, the service that it wants: by Host, by an absolute target as to a proxy, or by CONNECT.
 * Services of the mesh and nothing else. Where it is not known yet the request waits, unread, until the catalog has told of it.
 */
export class NamedConnection implements RequestSink {
  readonly #server: HttpServerStream;
  readonly #context: NamedContext;
  /** Whose the requests are, until one names another. */
  #current: { readonly upstream: Upstream; readonly connection: OutboundHttpConnection } | undefined;
  #stopWaiting: (() => void) | undefined;
  /** The request under way is `#current`'s. */
  #handed = false;
  /** What CONNECT asked for. */
  #connectTo: Upstream | undefined;

  constructor(client: ByteStream, context: NamedContext) {
    this.#context = context;
    const { idleTimeoutMs } = defaultResiliencePolicy;
    this.#server = new HttpServerStream(client, context, idleTimeoutMs, () => this, { allowConnect: true });
  }

  onRequest(head: RequestHead): void {
    this.#handed = false;
    this.#connectTo = undefined;
    const { datacenter, upstreams } = this.#context;
    const host = head.host ?? '';
    const name = serviceOfHost(host, datacenter);
    if (name === undefined) {
      this.#refuse('SLV-4012', host, 'the host is not a service of the mesh');
      return;
    }
    let waits = true;
    const stop = upstreams.find(name, (found) => {
      waits = false;
      this.#onFound(head, name, found);
    });
    if (!waits) return;
    this.#stopWaiting = stop;
    this.#server.pauseRequest();
  }

  onRequestBody(chunk: Buffer): void {
    if (this.#handed) this.#current?.connection.onRequestBody(chunk);
  }

  onRequestWhole(): void {
    const upstream = this.#connectTo;
    if (upstream !== undefined) this.#connect(upstream);
    else if (this.#handed) this.#current?.connection.onRequestWhole();
  }

  onRequestRefused(refusal: Refusal): string {
    this.#waitNoMore();
    if (this.#handed && this.#current !== undefined) return this.#current.connection.onRequestRefused(refusal);
    return this.#record(refusal.code, 'HTTP/1.1', '', refusal.reason);
  }

  onUpgradedEnd(): void {
    this.#current?.connection.onUpgradedEnd();
  }

  onAnswerDrain(): void {
    this.#current?.connection.onAnswerDrain();
  }

  onAnswered(status: number, durationMs: number, reason?: string, decision?: string): void {
    // What is refused here is of no upstream, so it is in the log and among the decisions only.
    if (this.#handed) this.#current?.connection.onAnswered(status, durationMs, reason, decision);
  }

  onClosed(): void {
    this.#waitNoMore();
    this.#leave();
  }

  #onFound(head: RequestHead, name: string, found: Found): void {
    this.#stopWaiting = undefined;
    if (found.kind === 'refused') {
      this.#refuse(found.code, name, found.reason);
    } else if (head.method === 'CONNECT') {
      this.#connectTo = found.upstream;
    } else if (wireOf(found.upstream.protocol) === 'HTTP/2') {
      const { protocol } = found.upstream;
      this.#refuse(
        'SLV-4014',
        name,
        `${name} is of protocol ${protocol}: reach it by CONNECT, or at a port of its own`,
      );
    } else {
      const { upstream } = found;
      if (this.#current?.upstream !== upstream) {
        this.#leave();
        const context = this.#context.contextOf(upstream);
        this.#current = { upstream, connection: new OutboundHttpConnection(this.#server, context) };
      }
      this.#handed = true;
      this.#current.connection.onRequest(head);
    }
    this.#server.resumeRequest();
  }

  /** From here on as a connection to the upstream's own port. */
  #connect(upstream: Upstream): void {
    this.#leave();
    const context = this.#context.contextOf(upstream);
    const stream = this.#server.handOver();
    const open = encodeResponseHead(200, 'OK', [], { kind: 'none' });
    if (upstream.protocol !== 'tcp') {
      stream.write(open);
      serveConnection(stream, context);
      return;
    }
    new OutboundTcpConnection(stream, context, {
      joined: () => {
        stream.write(open);
      },
      refused: (failure, decision) => refuseConnect(stream, context, failure, decision),
    });
  }

  #leave(): void {
    this.#current?.connection.onClosed();
    this.#current = undefined;
  }

  #waitNoMore(): void {
    this.#stopWaiting?.();
    this.#stopWaiting = undefined;
  }

  #refuse(code: ErrorCode, destination: string, reason: string): void {
    const decision = this.#record(code, 'name', destination, reason);
    this.#server.error({ status: errorCatalogue[code].status, code, reason }, decision);
  }

  #record(code: ErrorCode, rule: string, destination: string, reason: string): string {
    const { service, traffic } = this.#context;
    const method = this.#server.request?.method;
    return traffic.refuse({
      direction: 'outbound',
      source: service,
      destination,
      code,
      rule,
      reason,
      ...(method === undefined ? {} : { method }),
    }).id;
  }
}

/** Answers, and ends the connection once that has left; what still comes is dropped. */
function refuseConnect(
  stream: ByteStream,
  { sweep }: ServingContext,
  { code, reason }: ExchangeFailure,
  decision: string,
): void {
  const guard = sweep.guard(farewellMs, () => stream.destroy());
  stream.handlers = { onData() {}, onEnd() {}, onDrain() {}, onClose: () => sweep.release(guard) };
  stream.write(encodeError({ status: errorCatalogue[code].status, code, reason }, decision));
  stream.end();
  stream.resume();
}
