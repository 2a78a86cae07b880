import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { ResiliencePolicy } from '#policies/resilience.ts';
import { rewritePrefix } from '#policies/routing/prefix-rewrite.ts';
import type { ByteStream } from '../byte-stream.ts';
import type { OutgoingRequest } from '../client-stream.ts';
import { traitsTowards, untranslatable } from '../http-translation.ts';
import { type Refusal, refusalOf } from '../http1/fault.ts';
import { forwardableHeaders, headerValues, onwardHeaders } from '../http1/forwardable-headers.ts';
import { pushHost } from '../http1/head-encoder.ts';
import type { Http2Traits, RequestHead, ResponseHead } from '../http1/message.ts';
import type { IdleGuard } from '../idle-sweep.ts';
import { OnwardRequest, outgoingRequest } from '../onward-request.ts';
import { relay } from '../relay.ts';
import type { RequestSink, ServerStream, ServingContext } from '../server-stream.ts';
import type { EdgeTraffic, Traffic } from '../traffic.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import type { Destination } from './destination.ts';
import type { ExchangeFailure, ExchangeOwner } from './exchange-owner.ts';
import { HttpExchange } from './http-exchange.ts';
import { MirroredRequest } from './mirrored-request.ts';
import { requestHash } from './request-hash.ts';
import type { Course, Upstream } from './upstream.ts';

/** What every connection of one outbound listener shares. */
export interface OutboundContext extends ServingContext {
  readonly service: string;
  readonly upstream: Upstream;
  readonly traffic: Traffic;
  readonly edge: EdgeTraffic;
}

/**
 * One connection of HTTP/1.1, or one request of HTTP/2, of the local application to an upstream: has each of its requests exchanged. Nothing of the mesh is
 * visible to the application but the refusals.
 */
export class OutboundHttpConnection implements RequestSink, ExchangeOwner {
  readonly #server: ServerStream;
  readonly #context: OutboundContext;
  readonly #onward = new OnwardRequest();
  #path = '';
  #exchange: HttpExchange | undefined;
  /** Of the request under way; undefined: the plain one. */
  #course: Course | undefined;
  /** To be set with its answer, to hold the caller to one instance. */
  #cookie: string | undefined;
  /** Until all of the request has come. */
  #copy: MirroredRequest | undefined;
  /** Of its route. */
  #idle: IdleGuard | undefined;

  /** @param server whose requests, or some of them, are meant for this upstream */
  constructor(server: ServerStream, context: OutboundContext) {
    this.#context = context;
    this.#server = server;
    if (server.version === 1) {
      context.edge.openConnections.value += 1;
      context.edge.connections.value += 1;
    }
  }

  // RequestSink: what the local application sends.

  onRequest(sent: RequestHead): void {
    const { upstream } = this.#context;
    const target = this.#onward.normalise(sent, upstream.normalization);
    if (!target.ok) {
      this.#path = '';
      this.#refuse(target.code, target.rule, target.reason, undefined, target.headers);
      return;
    }
    const { head } = target;
    this.#path = target.path;
    const misfit = untranslatable(upstream.name, upstream.protocol, head);
    if (misfit !== undefined) {
      this.#refuse('SLV-4014', 'protocol', misfit);
      return;
    }
    const { plain } = upstream;
    if (plain === undefined) {
      this.#route(head, target, this.#headersOf(head));
      return;
    }
    this.#course = undefined;
    const http2 = this.#traitsOf(head);
    const request =
      this.#onward.again(http2) ??
      this.#onward.keep(outgoingRequest(head, target.path + target.query, this.#headersOf(head), http2));
    this.#exchangeWith(plain, plain.policy, request, head.expectContinue, undefined);
  }

  onRequestBody(chunk: Buffer): void {
    this.#context.edge.bytesSent.value += chunk.length;
    this.#touch();
    this.#copy?.sendBody(chunk);
    if (this.#exchange?.sendBody(chunk) === false) this.#server.pauseRequest();
  }

  onRequestWhole(trailers?: HeaderFields): void {
    this.#exchange?.endBody(trailers);
    this.#copy?.endBody(trailers);
    this.#copy = undefined;
  }

  onRequestRefused(refusal: Refusal): string {
    // The body broke off or broke the rules: what was sent of it can't be completed.
    this.#exchange?.cancel();
    this.#exchange = undefined;
    this.#leaveCopy();
    if (this.#server.request === undefined) this.#path = '';
    return this.#record(refusal.code, `HTTP/${this.#server.version}`, refusal.reason);
  }

  onAnswerDrain(): void {
    this.#exchange?.resumeAnswer();
  }

  onAnswered(status: number, durationMs: number, reason?: string, decision?: string): void {
    this.#unwatch();
    this.#leaveCopy();
    const { traffic, edge, service, upstream } = this.#context;
    edge.request(status, durationMs);
    if (!traffic.wants(status)) return;
    const endpoint = this.#exchange?.endpointId;
    traffic.access({
      direction: 'outbound',
      source: service,
      destination: upstream.name,
      protocol: 'http',
      method: this.#server.request?.method ?? '',
      path: this.#path,
      status,
      durationMs: Math.round(durationMs * 1_000) / 1_000,
      ...(endpoint === undefined ? {} : { endpoint }),
      attempts: this.#exchange?.attempts ?? 0,
      ...(decision === undefined ? {} : { decision }),
      ...(reason === undefined ? {} : { reason }),
    });
  }

  onClosed(): void {
    if (this.#server.version === 1) this.#context.edge.openConnections.value -= 1;
    this.#unwatch();
    this.#leaveCopy();
    this.#exchange?.cancel();
    this.#exchange = undefined;
  }

  // ExchangeOwner: what comes back.

  answerInformational(head: ResponseHead): void {
    this.#server.informational(head, forwardableHeaders(head));
  }

  answerHead(head: ResponseHead): void {
    const course = this.#course;
    if (course === undefined) this.#server.head(head, onwardHeaders(head, withDecision));
    else
      this.#server.head(
        head,
        withDecision(head, (headers) => this.#editAnswer(course, headers)),
      );
  }

  answerBody(chunk: Buffer): void {
    this.#context.edge.bytesReceived.value += chunk.length;
    this.#touch();
    if (!this.#server.body(chunk)) this.#exchange?.pauseAnswer();
  }

  answerFlush(): void {
    this.#server.flush();
  }

  answerComplete(trailers?: HeaderFields): void {
    this.#server.complete(trailers);
  }

  answerFailed(failure: ExchangeFailure): void {
    if (failure.code === 'SLV-4001') this.#context.edge.denied.value += 1;
    this.#refuse(failure.code, 'resilience', failure.reason, failure.decision);
  }

  answerCut(code: ErrorCode, reason: string): void {
    this.#server.cut(code, reason);
  }

  answerUpgraded(head: ResponseHead, stream: ByteStream): void {
    const { sweep, edge, upstream } = this.#context;
    this.#unwatch();
    const bytes = this.#server.upgrade(head, forwardableHeaders(head));
    if (bytes === undefined) {
      stream.reset();
      return;
    }
    relay(bytes, stream, {
      sweep,
      idleTimeoutMs: this.#course?.policy.idleTimeoutMs ?? upstream.idleTimeoutMs,
      forward: edge.bytesSent,
      backward: edge.bytesReceived,
      onDone: () => this.onClosed(),
    });
  }

  requestDrained(): void {
    this.#server.resumeRequest();
  }

  // Inside.

  #headersOf(head: RequestHead): string[] {
    const headers = forwardableHeaders(head);
    pushHost(headers, head, this.#context.upstream.name);
    return headers;
  }

  /** Between two proxies an Upgrade is of HTTP/1.1 whatever its ends speak: the far one knows its application. */
  #traitsOf(head: RequestHead): Http2Traits | undefined {
    return head.upgrade === undefined ? traitsTowards(this.#context.upstream.protocol, head) : undefined;
  }

  /** A route may allow a request less silence than the upstream allows a connection. */
  #watch(idleTimeoutMs: number): void {
    this.#idle = this.#context.sweep.guard(idleTimeoutMs, () => {
      this.#idle = undefined;
      const reason = `no byte either way for ${idleTimeoutMs} ms`;
      this.#exchange?.cancel();
      if (this.#server.answering) this.#server.cut('SLV-4004', reason);
      else this.#refuse('SLV-4004', 'route', reason);
    });
  }

  #leaveCopy(): void {
    this.#copy?.leave();
    this.#copy = undefined;
  }

  #touch(): void {
    if (this.#idle !== undefined) this.#idle.touched = true;
  }

  #unwatch(): void {
    if (this.#idle !== undefined) this.#context.sweep.release(this.#idle);
    this.#idle = undefined;
  }

  #editAnswer(course: Course, headers: string[]): void {
    course.end.responseEdits?.(headers);
    if (this.#cookie !== undefined) headers.push('Set-Cookie', this.#cookie);
  }

  /** The request's route decides where it goes and as what. */
  #route(head: RequestHead, target: { readonly path: string; readonly query: string }, headers: string[]): void {
    const { path, query } = target;
    const course = this.#context.upstream.course({
      method: head.method,
      path,
      query,
      headerValues: (name) => headerValues(head.headers, name),
    });
    const { match = {}, prefixRewrite } = course.route.says;
    const rewritten =
      prefixRewrite === undefined
        ? undefined
        : rewritePrefix(path, query, match, prefixRewrite, this.#context.upstream.normalization);
    if (rewritten?.ok === false) {
      this.#refuse('SLV-4011', 'canonical path', `as the route rewrites it: ${rewritten.reason}`);
      return;
    }
    const { path: sentPath, query: sentQuery } = rewritten ?? target;
    const { destination, policy, end } = course;
    this.#course = course;
    this.#cookie = undefined;
    let hash: number | undefined;
    if (destination.hashPolicies !== undefined) {
      const asked = { headers: head.headers, query, sourceIp: this.#server.peerAddress ?? '' };
      const found = requestHash(destination.hashPolicies, asked, this.#context.upstream.newKey);
      hash = found.hash;
      this.#cookie = found.cookie;
    }
    end.requestEdits?.(headers);
    const { idleTimeoutMs } = policy;
    if (idleTimeoutMs < destination.policy.idleTimeoutMs) this.#watch(idleTimeoutMs);
    const request = outgoingRequest(head, sentPath + sentQuery, headers, this.#traitsOf(head));
    this.#exchangeWith(destination, policy, request, head.expectContinue, hash);
    const { mirror } = destination;
    if (this.#server.request === undefined) return; // refused at once
    if (mirror === undefined || head.upgrade !== undefined || !mirror.which.next()) return;
    this.#copy = new MirroredRequest(mirror.to, request, this.#context.sweep);
  }

  #exchangeWith(
    destination: Destination,
    policy: ResiliencePolicy,
    request: OutgoingRequest,
    expectContinue: boolean,
    hash: number | undefined,
  ): void {
    const exchange = new HttpExchange(destination, policy, request, this, hash);
    this.#exchange = exchange;
    // The mesh's own word: the application may have a long wait for an answer that the far side would give late.
    if (expectContinue) this.#server.sendContinue();
    exchange.start();
  }

  /**
   * @param known   the decision of the proxy that refused, where it was another one
   * @param headers of the answer, flat
   */
  #refuse(code: ErrorCode, rule: string, reason: string, known?: string, headers?: readonly string[]): void {
    const decision = known ?? this.#record(code, rule, reason);
    this.#server.error(refusalOf(code, reason), decision, headers);
  }

  #record(code: ErrorCode, rule: string, reason: string): string {
    const { upstream, service, traffic } = this.#context;
    const { request } = this.#server;
    return traffic.refuse({
      direction: 'outbound',
      source: service,
      destination: upstream.name,
      code,
      rule,
      reason,
      ...(request === undefined ? {} : { method: request.method, path: this.#path }),
    }).id;
  }
}

/** Of an answer, with the decision of the proxy that refused, where one did: no route edits that. */
function withDecision(head: ResponseHead, edit?: (headers: string[]) => void): string[] {
  const headers = forwardableHeaders(head);
  edit?.(headers);
  for (const decision of headerValues(head.headers, 'selvedge-decision')) headers.push('selvedge-decision', decision);
  return headers;
}
