import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { serviceOfHost } from '#policies/mesh-host.ts';
import { defaultResiliencePolicy } from '#policies/resilience.ts';
import type { ByteStream } from '../byte-stream.ts';
import { serveHttpVersion } from '../http-beginning.ts';
import { HttpServerStream } from '../http-server-stream.ts';
import { type Refusal, refusalOf } from '../http1/fault.ts';
import type { RequestHead } from '../http1/message.ts';
import type { RequestSink, ServerStream, ServingContext } from '../server-stream.ts';
import type { Traffic } from '../traffic.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { type OutboundContext, OutboundHttpConnection } from './http-connection.ts';
import { serveHttp2 } from './http2-connection.ts';
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

/**
 * Serves a connection of the local application that names, in each request, the service that it wants: by Host, by an absolute target as to a proxy, or by CONNECT;
 * in HTTP/2 by `:authority`, of a CONNECT too.
 */
export function serveNamed(client: ByteStream, context: NamedContext): void {
  const { idleTimeoutMs } = defaultResiliencePolicy;
  serveHttpVersion(client, context, idleTimeoutMs, {
    http1(stream) {
      new HttpServerStream(stream, context, idleTimeoutMs, (server) => new NamedRequests(server, context), {
        allowConnect: true,
      });
    },
    http2(stream) {
      serveHttp2(stream, context, {
        idleTimeoutMs: () => idleTimeoutMs,
        serve: (server) => new NamedRequests(server, context),
        allowConnect: true,
        onClosed() {},
      });
    },
  });
}

/**
 * The requests of one connection of HTTP/1.1, or one of HTTP/2, each to the service that it names: services of the mesh and nothing else. Where one is not known
 * yet the request waits, unread, until the catalog has told of it.
 */
class NamedRequests implements RequestSink {
  readonly #server: ServerStream;
  readonly #context: NamedContext;
  /** Whose the requests are, until one names another. */
  #current: { readonly upstream: Upstream; readonly connection: OutboundHttpConnection } | undefined;
  #stopWaiting: (() => void) | undefined;
  /** The request under way is `#current`'s. */
  #handed = false;
  /** What CONNECT asked for. */
  #connectTo: Upstream | undefined;

  constructor(server: ServerStream, context: NamedContext) {
    this.#server = server;
    this.#context = context;
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

  onRequestWhole(trailers?: HeaderFields): void {
    const upstream = this.#connectTo;
    if (upstream !== undefined) this.#connect(upstream);
    else if (this.#handed) this.#current?.connection.onRequestWhole(trailers);
  }

  onRequestRefused(refusal: Refusal): string {
    this.#waitNoMore();
    if (this.#handed && this.#current !== undefined) return this.#current.connection.onRequestRefused(refusal);
    return this.#record(refusal.code, `HTTP/${this.#server.version}`, '', refusal.reason);
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
    } else if (head.method === 'CONNECT' && head.underscored) {
      this.#refuse('SLV-4201', name, 'a header name holds an underscore');
    } else if (head.method === 'CONNECT') {
      this.#connectTo = found.upstream;
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
    const asked = this.#server.handOver();
    this.#leave();
    const context = this.#context.contextOf(upstream);
    if (upstream.protocol !== 'tcp') {
      asked.accept();
      serveConnection(asked.bytes, context);
      return;
    }
    new OutboundTcpConnection(asked.bytes, context, {
      joined: () => asked.accept(),
      refused: ({ code, reason }, decision) => asked.refuse(refusalOf(code, reason), decision),
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
    this.#server.error(refusalOf(code, reason), decision);
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
