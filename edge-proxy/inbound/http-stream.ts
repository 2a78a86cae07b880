import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { RequestFacts, Verdict } from '#policies/intention-decision.ts';
import type { ByteStream } from '../byte-stream.ts';
import type { SourceCalls } from '../calls/recent-calls.ts';
import type { AnswerSink, BreakPoint, ClientStream, OutgoingRequest } from '../client-stream.ts';
import { traitsTowards, untranslatable } from '../http-translation.ts';
import { type Refusal, refusalOf } from '../http1/fault.ts';
import { forwardableHeaders, headerLookalikes, headerValues, onwardHeaders } from '../http1/forwardable-headers.ts';
import { pushHost } from '../http1/head-encoder.ts';
import type { Http2Traits, RequestHead, ResponseHead } from '../http1/message.ts';
import type { PassedRequest } from '../normalised-request.ts';
import { OnwardRequest, outgoingRequest } from '../onward-request.ts';
import { relay } from '../relay.ts';
import { isIdempotent } from '../resilience/idempotency.ts';
import type { RequestSink, ServerStream } from '../server-stream.ts';
import { RequestTokens } from '../tokens/request-tokens.ts';
import type { EdgeTraffic } from '../traffic.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { wireOf } from '../wire-protocol.ts';
import { CallDeadline } from './call-deadline.ts';
import type { Caller } from './caller.ts';
import type { InboundContext } from './inbound-context.ts';
import type { LiveStream } from './live-streams.ts';
import { protocolChanged } from './tcp-stream.ts';

/** Bytes of a body that wait for a connection to the application before the caller is paused. */
const maxWaitingBytes = 65_536;

/**
 * One byte stream of a verified caller that speaks HTTP/1.1 (a tunnel's stream or a plain mTLS connection), or one request of HTTP/2. Every request is brought
 * to its canonical form, judged, and only then forwarded, in that form, with the caller's identity set by us. It trusts nothing that the other proxy did.
 */
export class InboundHttpStream implements RequestSink, AnswerSink, LiveStream {
  before: LiveStream | undefined;
  after: LiveStream | undefined;
  linkedIn: object | undefined;
  readonly #server: ServerStream;
  readonly #caller: Caller;
  readonly #context: InboundContext;
  readonly #edge: EdgeTraffic;
  readonly #calls: SourceCalls;
  /** Headers that say who calls. */
  readonly #identity: readonly string[];
  /** What the request under way was let in with. */
  #facts: RequestFacts | undefined;
  #path = '';
  #trailers: HeaderFields | undefined;
  readonly #onward = new OnwardRequest();
  /** The request under way as it goes on to the application. */
  #request: OutgoingRequest | undefined;
  #application: ClientStream | undefined;
  /** Of a gRPC call. */
  #deadline: CallDeadline | undefined;
  #cancelOpen: (() => void) | undefined;
  /** Behind an upgrade. */
  #cutBytes: ((reason: string) => void) | undefined;
  /** Body that waits for a connection to the application; it goes there in one write, however many pieces it came in. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;

  constructor(server: ServerStream, caller: Caller, context: InboundContext) {
    this.#server = server;
    this.#caller = caller;
    this.#context = context;
    this.#identity = context.identityOf(caller.peer.spiffeId);
    this.#edge = caller.edge;
    this.#calls = caller.calls;
    if (server.version === 2) return;
    this.#edge.openConnections.value += 1;
    this.#edge.connections.value += 1;
  }

  // LiveStream: while a request is under way.

  judge(): Verdict {
    const policy = this.#caller.policy;
    const { view } = this.#context;
    if (policy === undefined || view.inbound === undefined || this.#facts === undefined)
      return this.#context.nothingKnown;
    const spoken = this.#request?.http2 === undefined ? 'HTTP/1.1' : 'HTTP/2';
    if (this.#cutBytes !== undefined && wireOf(view.inbound.protocol) !== spoken) return protocolChanged(this.#context);
    return policy.request(this.#facts);
  }

  cut(verdict: Verdict): void {
    this.#edge.cut.value += 1;
    const decision = this.#recordDenial(verdict);
    if (this.#cutBytes !== undefined) {
      this.#cutBytes(`cut: ${verdict.reason} (decision ${decision})`);
      return;
    }
    this.#letGo();
    // As long as nothing has gone down, the caller can be told. A 403 is not retried, and no breaker counts it; a reset would be both.
    if (this.#server.answering) this.#server.cut('SLV-4001', `cut: ${verdict.reason}`, decision);
    else this.#server.error(refusalOf('SLV-4001', verdict.reason), decision);
  }

  // RequestSink: what the caller sends.

  onRequest(sent: RequestHead): void {
    const { view, nothingKnown } = this.#context;
    const target = this.#onward.normalise(sent, view.normalization);
    if (!target.ok) {
      this.#path = '';
      this.#refuse(target.code, target.rule, target.reason, target.headers);
      return;
    }
    const { head } = target;
    this.#path = target.path;
    // A stream for HTTP/1.1 was told so when it was opened; a request of HTTP/2 is a stream.
    if (view.inbound === undefined && this.#server.version === 2) {
      this.#refuse('SLV-4008', nothingKnown.rule, nothingKnown.reason, notReached);
      return;
    }
    const protocol = view.inbound?.protocol ?? 'tcp';
    const misfit = untranslatable(view.service, protocol, head);
    if (misfit !== undefined) {
      this.#refuse('SLV-4014', 'protocol', misfit, notReached);
      return;
    }
    const tokens =
      view.inbound === undefined || view.inbound.tokens.size === 0
        ? undefined
        : new RequestTokens(() => view.inbound?.tokens, { headers: head.headers, query: target.query });
    const facts: RequestFacts = {
      method: head.method,
      path: target.path,
      headerValues: (name) => headerValues(head.headers, name),
      headerLookalikes: (name) => headerLookalikes(head.headers, name),
      token: tokens?.token,
    };
    const verdict = this.#caller.policy?.request(facts) ?? this.#context.nothingKnown;
    this.#calls.note(head.method, target.path, verdict);
    if (!verdict.allowed) {
      this.#edge.denied.value += 1;
      this.#server.error(refusalOf('SLV-4001', verdict.reason), this.#recordDenial(verdict));
      return;
    }
    if (verdict.observed !== undefined) this.#recordObserved(verdict);
    const waitMs = this.#context.limiter.take(this.#caller.peer.spiffeId);
    if (waitMs > 0) {
      const reason = `${view.service} takes no more requests of this caller for ${waitMs} ms`;
      this.#refuse('SLV-4015', 'request limit', reason, ['Retry-After', String(Math.ceil(waitMs / 1_000))]);
      return;
    }
    const fullMs = this.#context.instanceLimiter.take(target.path);
    if (fullMs > 0) {
      const reason = `this instance of ${view.service} takes no more requests for ${fullMs} ms`;
      this.#refuse('SLV-4018', 'instance limit', reason, ['Retry-After', String(Math.ceil(fullMs / 1_000))]);
      return;
    }
    this.#facts = facts;
    this.#context.live.add(this, tokens?.untilMs);
    const http2 = traitsTowards(protocol, head);
    this.#request = (tokens === undefined && this.#onward.again(http2)) || this.#outgoing(target, http2, tokens);
    this.#deadline = CallDeadline.of(this.#request, () =>
      this.#refuse('SLV-4004', 'deadline', 'the time that the caller gave is over'),
    );
    if (head.expectContinue) this.#server.sendContinue();
    const free = this.#context.application.takeFree(this.#request);
    if (free === undefined) this.#openApplication();
    else this.#send(free);
  }

  onRequestBody(chunk: Buffer): void {
    this.#edge.bytesSent.value += chunk.length;
    if (this.#application !== undefined) {
      if (!this.#application.body(chunk)) this.#server.pauseRequest();
      return;
    }
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes >= maxWaitingBytes) this.#server.pauseRequest();
  }

  onRequestWhole(trailers?: HeaderFields): void {
    this.#trailers = trailers;
    this.#application?.finish(trailers);
  }

  onRequestRefused(refusal: Refusal): string {
    this.#letGo();
    if (this.#server.request === undefined) this.#path = '';
    return this.#record(refusal.code, `HTTP/${this.#server.version}`, refusal.reason);
  }

  onAnswerDrain(): void {
    this.#application?.resume();
  }

  onAnswered(status: number, durationMs: number, reason?: string, decision?: string): void {
    if (status !== 101) this.#settle();
    this.#edge.request(status, durationMs);
    const { traffic, view } = this.#context;
    if (!traffic.wants(status)) return;
    traffic.access({
      direction: 'inbound',
      source: this.#caller.peer.spiffeId,
      destination: view.service,
      protocol: 'http',
      method: this.#server.request?.method ?? '',
      path: this.#path,
      status,
      durationMs: Math.round(durationMs * 1_000) / 1_000,
      ...(decision === undefined ? {} : { decision }),
      ...(reason === undefined ? {} : { reason }),
    });
  }

  onClosed(): void {
    this.#settle();
    if (this.#server.version === 1) this.#edge.openConnections.value -= 1;
    this.#letGo();
  }

  // AnswerSink: what the application answers.

  onInformational(head: ResponseHead): void {
    this.#server.informational(head, forwardableHeaders(head));
  }

  onHead(head: ResponseHead): void {
    this.#server.head(head, onwardHeaders(head));
  }

  onBody(chunk: Buffer): void {
    this.#edge.bytesReceived.value += chunk.length;
    if (!this.#server.body(chunk)) this.#application?.pause();
  }

  onFlush(): void {
    this.#server.flush();
  }

  onComplete(trailers?: HeaderFields): void {
    const application = this.#application;
    this.#application = undefined;
    // A request that the application did not read to its end can't be followed by another.
    if (this.#server.requestWhole) application?.release();
    else application?.discard();
    this.#settle();
    this.#server.complete(trailers);
  }

  onBroken(reason: string, point: BreakPoint): void {
    const application = this.#application;
    this.#application = undefined;
    if (this.#server.answering) {
      this.#server.cut('SLV-4005', reason);
      return;
    }
    const request = this.#server.request;
    // A kept-alive connection that the application closed while we sent: not its answer, so an idempotent request without a body goes again, on a fresh one.
    if (
      point === 'untouched' &&
      (application?.exchanges ?? 0) > 1 &&
      request !== undefined &&
      isIdempotent(request.method) &&
      request.framing.kind === 'none'
    ) {
      this.#openApplication();
      return;
    }
    // By REFUSED_STREAM or GOAWAY the application says that it has done nothing: the calling proxy may try again.
    if (point === 'refused') {
      this.#refuse('SLV-4007', 'application', `${this.#context.view.service}: ${reason}`, notReached);
      return;
    }
    this.#refuse('SLV-4005', 'application', `${this.#context.view.service}: ${reason}`);
  }

  onUpgraded(head: ResponseHead, stream: ByteStream): void {
    this.#application = undefined;
    const bytes = this.#server.upgrade(head, forwardableHeaders(head));
    if (bytes === undefined) {
      stream.reset();
      return;
    }
    const { sweep, idleTimeoutMs } = this.#context;
    this.#cutBytes = relay(bytes, stream, {
      sweep,
      idleTimeoutMs,
      forward: this.#edge.bytesSent,
      backward: this.#edge.bytesReceived,
      onDone: () => this.onClosed(),
    });
  }

  onDrain(): void {
    this.#server.resumeRequest();
  }

  // Inside.

  #outgoing({ head, path, query }: PassedRequest, http2?: Http2Traits, tokens?: RequestTokens): OutgoingRequest {
    const headers = tokens === undefined ? forwardableHeaders(head) : tokens.forward(forwardableHeaders(head));
    pushHost(headers, head, this.#context.view.service);
    headers.push(...this.#identity);
    const request = outgoingRequest(head, path + query, headers, http2);
    return tokens === undefined ? this.#onward.keep(request) : request;
  }

  #openApplication(): void {
    const request = this.#request;
    if (request === undefined) return;
    this.#cancelOpen = this.#context.application.openHttp(
      request,
      (application) => {
        this.#cancelOpen = undefined;
        this.#send(application);
      },
      ({ code, reason }) => {
        this.#cancelOpen = undefined;
        const said = `${this.#context.view.service} ${reason}`;
        if (code === 'SLV-4007') this.#refuse(code, 'application', said, notReached);
        else this.#refuse(code, 'protocol', said);
      },
    );
  }

  #send(application: ClientStream): void {
    if (this.#request === undefined) throw new RangeError('a connection to the application without a request');
    this.#application = application;
    let more = application.begin(this, this.#deadline?.within(this.#request) ?? this.#request);
    if (this.#waitingBytes > 0) more = application.body(Buffer.concat(this.#waiting));
    if (this.#server.requestWhole) application.finish(this.#trailers);
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (more) this.#server.resumeRequest();
  }

  /** Nothing is under way that could be judged. */
  #settle(): void {
    this.#facts = undefined;
    this.#deadline?.stop();
    this.#context.live.delete(this);
  }

  /** Drops what is under way towards the application. */
  #letGo(): void {
    this.#cancelOpen?.();
    this.#cancelOpen = undefined;
    this.#application?.discard();
    this.#application = undefined;
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #refuse(code: ErrorCode, rule: string, reason: string, headers: readonly string[] = []): void {
    this.#letGo();
    const decision = this.#record(code, rule, reason);
    if (this.#server.answering) this.#server.cut(code, reason, decision);
    else this.#server.error(refusalOf(code, reason), decision, headers);
  }

  #recordObserved({ observed, revision }: Verdict): void {
    if (observed === undefined) return;
    this.#edge.observed.value += 1;
    this.#context.traffic.observe({
      direction: 'inbound',
      source: this.#caller.peer.spiffeId,
      destination: this.#context.view.service,
      code: 'SLV-4001',
      ...observed,
      revision,
      method: this.#server.request?.method ?? '',
      path: this.#path,
    });
  }

  #recordDenial(verdict: Verdict): string {
    return this.#record('SLV-4001', verdict.rule, verdict.reason, {
      revision: verdict.revision,
      ...(verdict.reading === undefined ? {} : { reading: verdict.reading }),
    });
  }

  #record(
    code: ErrorCode,
    rule: string,
    reason: string,
    more: { readonly revision?: number; readonly reading?: string } = {},
  ): string {
    const { request } = this.#server;
    return this.#context.traffic.refuse({
      direction: 'inbound',
      source: this.#caller.peer.spiffeId,
      destination: this.#context.view.service,
      code,
      rule,
      reason,
      ...more,
      ...(request === undefined ? {} : { method: request.method, path: this.#path }),
    }).id;
  }
}

/** For the other proxy: nothing was done, so another try is safe. */
const notReached = ['selvedge-reached', 'no'];
