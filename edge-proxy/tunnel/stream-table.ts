import { ConnectionStream, type StreamKind, type StreamOwner } from './connection-stream.ts';
import type { FloodGuard } from './flood-guard.ts';
import type { FrameWriter } from './frame-writer.ts';
import { errorCode, Http2ConnectionError, maxInt31 } from './http2.ts';
import { OwedResets } from './owed-resets.ts';
import type { PeerSettings } from './peer-settings.ts';
import { type AnswerHead, areTrailers, parseAnswerHead, parseRequestHead, type RequestHead } from './request-head.ts';
import { SendScheduler } from './send-scheduler.ts';
import type { SignsOfLife } from './signs-of-life.ts';
import { StreamIndex } from './stream-index.ts';
import type { AcceptingHandlers, TunnelLimits } from './tunnel.ts';
import type { HeaderFields } from './tunnel-stream.ts';
import type { WindowGrowth } from './window-growth.ts';

/** Streams that we reset lately, remembered to tell late frames for them from errors. */
const rememberedResets = 4_096;
/** DATA of less, bytes, that does not end its stream costs more than it brings. A message of gRPC begins with as many. */
const leastData = 5;
/** Most 1xx before an answer. */
const maxInformational = 16;

const none: HeaderFields = [];

/** What a head says. `over`: it was larger than the bounds, and this is its beginning. */
interface FieldSection {
  readonly fields: HeaderFields;
  readonly over: boolean;
  /** Each field by itself may go over HTTP/2. */
  readonly wellFormed: boolean;
}

/** The parts of the connection that its streams share. */
export interface StreamTableOptions {
  /** Of our side: a client opens streams, a server takes them. */
  readonly role: 'client' | 'server';
  readonly limits: TunnelLimits;
  readonly writer: FrameWriter;
  readonly floods: FloodGuard;
  readonly growth: WindowGrowth;
  readonly life: SignsOfLife;
  readonly peer: PeerSettings;
  /** Monotonic, ms. */
  now(): number;
  readonly onStream: AcceptingHandlers['onStream'] | undefined;
  /** Offers requests to `onStream`, not only CONNECT. */
  readonly requests: boolean;
  /** A stream has closed. */
  closed(): void;
}

/** The streams of one connection (RFC 9113 5), from the first frame of each to the last, and what is said to those that are not there. */
export class StreamTable implements StreamOwner {
  readonly limits: TunnelLimits;
  readonly scheduler: SendScheduler;
  /** Whether what came last was of a stream that is read, and did not end it; whether it was a crumb; and how many bodies have ended behind a crumb. */
  readonly bodies = { within: false, crumb: false, ended: 0 };
  readonly #options: StreamTableOptions;
  readonly #writer: FrameWriter;
  readonly #floods: FloodGuard;
  readonly #streams = new StreamIndex<ConnectionStream>();
  /** Frames for these may still be on their way; they are ignored. */
  readonly #lateFrames = new Set<number>();
  /** Of a client. */
  readonly #resets: OwedResets;
  #lastPeerStream = 0;
  #nextStream = 1;
  #takesStreams = true;

  constructor(options: StreamTableOptions) {
    this.#options = options;
    this.#writer = options.writer;
    this.#floods = options.floods;
    this.limits = options.limits;
    this.scheduler = new SendScheduler(options.writer);
    this.#resets = new OwedResets(options.writer, options.now);
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Highest stream that the peer has opened: what a GOAWAY of ours names. */
  get lastPeerStream(): number {
    return this.#lastPeerStream;
  }

  /** Streams that a client may open now. */
  get available(): number {
    if (this.#nextStream > maxInt31) return 0;
    return Math.max(0, this.#options.peer.maxConcurrentStreams - this.#streams.size - this.#resets.size);
  }

  /** Opens a CONNECT stream; there must be one available. */
  open(authority: string, headers: HeaderFields, onAnswer: ConnectionStream['onAnswer']): ConnectionStream {
    const stream = this.#make('connect', authority, onAnswer);
    const pseudo = [[':method', 'CONNECT'] as const, [':authority', authority] as const];
    this.#writer.head(stream.id, pseudo, headers, false);
    return stream;
  }

  /** Sends a request; there must be a stream available. */
  request(fields: HeaderFields, whole: boolean, onAnswer: ConnectionStream['onAnswer']): ConnectionStream {
    const stream = this.#make('request', '', onAnswer);
    this.#writer.head(stream.id, none, fields, whole);
    if (whole) stream.sentWhole();
    return stream;
  }

  #make(kind: StreamKind, authority: string, onAnswer: ConnectionStream['onAnswer']): ConnectionStream {
    const id = this.#nextStream;
    this.#nextStream += 2;
    const stream = new ConnectionStream(this, id, authority, kind, this.#options.peer.initialWindow);
    stream.onAnswer = onAnswer;
    this.#streams.add(id, stream);
    return stream;
  }

  /**
   * A client says what it owes of streams that it gave up. A server ends requests whose answer waits for a window that does not come: what they hold is others' memory
   * (CVE-2019-9517).
   */
  checkTimers(nowMs: number): void {
    if (this.#options.role === 'client') {
      this.#resets.pay();
      return;
    }
    for (const stream of this.#streams.all()) {
      if (stream.kind !== 'inbound-request' || stream.sender.stalledMs(nowMs) < this.limits.stallTimeoutMs) continue;
      this.sendReset(stream.id, errorCode.enhanceYourCalm);
      stream.broken(errorCode.enhanceYourCalm, false);
    }
  }

  /** After the last GOAWAY: the peer knows that further streams are not taken. */
  takeNoMore(): void {
    this.#takesStreams = false;
  }

  /** GOAWAY: our streams above `lastStreamId` were not looked at. */
  refusedAbove(lastStreamId: number): void {
    for (const stream of this.#streams.all()) {
      if (stream.id > lastStreamId) stream.broken(errorCode.refusedStream, true);
    }
  }

  /** The connection is over: its streams are the caller's to end. */
  takeAll(): ConnectionStream[] {
    return this.#streams.takeAll();
  }

  // What the peer sends. Each throws Http2ConnectionError where RFC 9113 asks for a connection error.

  data(streamId: number, chunk: Buffer, start: number, end: number, flowBytes: number, endStream: boolean): void {
    const size = end - start;
    // Without any it is counted below.
    const crumb = size > 0 && size < leastData && !endStream;
    if (crumb) this.#floods.waste();
    const stream = this.#streams.get(streamId);
    const { bodies } = this;
    if (endStream && bodies.crumb && stream !== undefined) bodies.ended += 1;
    bodies.crumb = crumb;
    bodies.within = stream !== undefined && !endStream;
    if (stream === undefined) {
      this.#lateData(streamId);
      return;
    }
    const receiver = stream.receiver;
    const fault = dataFault(stream) ?? (receiver.take(flowBytes) ? undefined : errorCode.flowControlError);
    if (fault !== undefined) {
      this.#fault(stream, fault);
      return;
    }
    if (size > 0) receiver.data(size === chunk.length ? chunk : chunk.subarray(start, end));
    else if (!endStream) this.#floods.count('control');
    if (flowBytes > size) receiver.consumed(flowBytes - size);
    // The handler may have ended the stream.
    if (endStream && stream.state !== 'closed') stream.remoteEnded();
  }

  head(streamId: number, section: FieldSection, endStream: boolean, dependsOnItself: boolean): void {
    const stream = this.#streams.get(streamId);
    this.bodies.within = !endStream;
    this.bodies.crumb = false;
    if (stream !== undefined) this.#furtherHead(stream, section, endStream);
    else if (this.#options.role === 'client') this.requireNotIdle(streamId);
    else if (this.#isIdle(streamId)) this.#request(streamId, section, endStream, dependsOnItself);
    else if (!this.#lateFrames.has(streamId)) {
      throw new Http2ConnectionError(errorCode.streamClosed, `HEADERS on closed stream ${streamId}`);
    }
  }

  rstStream(streamId: number, code: number): void {
    this.requireNotIdle(streamId);
    this.bodies.within = false;
    this.#floods.count('resets');
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    // So was its head for nothing.
    if (stream.unanswered) this.#floods.waste();
    // The answer is whole, and the rest of the request is not wanted: what came of it stays (RFC 9113 8.1).
    if (code === errorCode.noError && stream.kind === 'request' && stream.state === 'half-closed-remote')
      stream.notWanted();
    else stream.broken(code, true);
  }

  windowUpdate(streamId: number, increment: number): void {
    this.requireNotIdle(streamId);
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (increment === 0) this.#fault(stream, errorCode.protocolError);
    else if (!stream.sender.widen(increment)) this.#fault(stream, errorCode.flowControlError);
  }

  /** SETTINGS_INITIAL_WINDOW_SIZE has changed: so do the windows of all streams (RFC 9113 6.9.2). */
  widenAll(change: number): void {
    for (const stream of this.#streams.all()) {
      if (stream.sender.widen(change)) continue;
      throw new Http2ConnectionError(errorCode.flowControlError, 'SETTINGS overflow the window of a stream');
    }
  }

  requireNotIdle(streamId: number): void {
    if (this.#isIdle(streamId)) {
      throw new Http2ConnectionError(errorCode.protocolError, `frame on idle stream ${streamId}`);
    }
  }

  // StreamOwner: what the streams ask for.

  now(): number {
    return this.#options.now();
  }

  sendAnswer(streamId: number, status: number, headers: HeaderFields, endStream: boolean): void {
    this.#writer.head(streamId, [[':status', String(status)]], headers, endStream);
  }

  sendTrailers(streamId: number, trailers: HeaderFields): void {
    this.#writer.head(streamId, none, trailers, true);
  }

  sendReset(streamId: number, code: number): void {
    this.#ignoreFramesOf(streamId);
    if (this.#options.role === 'client') this.#resets.send(streamId, code);
    else this.#writer.rstStream(streamId, code);
  }

  credit(streamId: number, consumed: number, size: number, elapsedMs: number): number {
    const grown = this.#options.growth.grant(size, elapsedMs);
    this.#writer.windowUpdate(streamId, consumed + grown);
    if (Number.isFinite(elapsedMs)) this.#options.life.measure(this.#options.now());
    return grown;
  }

  streamClosed(streamId: number, grown: number): void {
    this.#streams.delete(streamId);
    this.#options.growth.release(grown);
    this.#options.closed();
  }

  // Inside.

  /** DATA for a stream that is no more. */
  #lateData(streamId: number): void {
    this.requireNotIdle(streamId);
    if (this.#lateFrames.has(streamId)) return;
    this.#floods.count('faults');
    this.sendReset(streamId, errorCode.streamClosed);
  }

  /** HEADERS on a running stream: the answer to one of ours, or trailers, which CONNECT has not (RFC 9113 8.5). */
  #furtherHead(stream: ConnectionStream, { fields, over, wellFormed }: FieldSection, endStream: boolean): void {
    const onAnswer = stream.onAnswer;
    if (stream.state === 'half-closed-remote') {
      this.#fault(stream, errorCode.streamClosed);
    } else if (over) {
      this.#fault(stream, errorCode.enhanceYourCalm);
    } else if (onAnswer === undefined) {
      const mayBe = endStream && (stream.kind === 'request' || stream.kind === 'inbound-request');
      if (!mayBe || !areTrailers(fields, wellFormed)) {
        this.#fault(stream, errorCode.protocolError);
        return;
      }
      stream.trailers = fields;
      stream.remoteEnded();
    } else {
      this.#answer(stream, parseAnswerHead(fields, wellFormed), endStream, onAnswer);
    }
  }

  #answer(
    stream: ConnectionStream,
    head: AnswerHead | undefined,
    endStream: boolean,
    onAnswer: NonNullable<ConnectionStream['onAnswer']>,
  ): void {
    if (head === undefined || (head.status < 200 && (endStream || ++stream.informed > maxInformational))) {
      this.#fault(stream, errorCode.protocolError);
      return;
    }
    if (head.status < 200) {
      if (stream.kind === 'request') onAnswer(head.status, head.headers, false);
      return;
    }
    stream.onAnswer = undefined;
    if (stream.kind === 'connect' && head.status >= 300) stream.refused(endStream);
    onAnswer(head.status, head.headers, endStream);
    if (endStream && stream.state !== 'closed') stream.remoteEnded();
  }

  #request(
    streamId: number,
    { fields, over, wellFormed }: FieldSection,
    endStream: boolean,
    dependsOnItself: boolean,
  ): void {
    if (streamId % 2 === 0) this.requireNotIdle(streamId);
    this.#lastPeerStream = streamId;
    if (!this.#takesStreams) {
      this.#ignoreFramesOf(streamId);
      return;
    }
    const parsed = dependsOnItself ? undefined : parseRequestHead(fields, wellFormed);
    // Not said to be taken: a pseudo-header field that is not defined (RFC 9113 8.3).
    const head = parsed?.protocol !== undefined && !this.#options.requests ? undefined : parsed;
    if (head === undefined || this.#streams.size >= this.limits.maxConcurrentStreams) {
      this.#floods.count('faults');
      this.sendReset(streamId, head === undefined ? errorCode.protocolError : errorCode.refusedStream);
    } else if (head.method === 'CONNECT' || this.#options.requests) {
      if (over) this.#floods.count('faults');
      this.#offer(streamId, head, endStream, over);
    } else {
      this.#floods.count('faults');
      this.sendAnswer(streamId, 405, [['allow', 'CONNECT']], true);
      if (!endStream) this.sendReset(streamId, errorCode.noError);
    }
  }

  #offer(streamId: number, head: RequestHead, endStream: boolean, over: boolean): void {
    const connect = head.method === 'CONNECT';
    const stream = new ConnectionStream(
      this,
      streamId,
      head.authority,
      connect ? 'inbound-connect' : 'inbound-request',
      this.#options.peer.initialWindow,
    );
    this.#streams.add(streamId, stream);
    if (endStream) stream.remoteEnded();
    const { method, authority, path, protocol, headers } = head;
    this.#options.onStream?.(stream, {
      method,
      authority,
      path,
      protocol,
      headers,
      whole: endStream && !connect,
      over,
    });
  }

  /** The peer broke a rule on one stream (RFC 9113 5.4.2). */
  #fault(stream: ConnectionStream, code: number): void {
    this.#floods.count('faults');
    this.sendReset(stream.id, code);
    stream.broken(code, false);
  }

  #ignoreFramesOf(streamId: number): void {
    this.#lateFrames.add(streamId);
    if (this.#lateFrames.size <= rememberedResets) return;
    for (const oldest of this.#lateFrames) {
      this.#lateFrames.delete(oldest);
      return;
    }
  }

  #isIdle(streamId: number): boolean {
    if (streamId % 2 === 0) return true;
    return this.#options.role === 'client' ? streamId >= this.#nextStream : streamId > this.#lastPeerStream;
  }
}

/** Why a stream may not carry DATA now. */
function dataFault(stream: ConnectionStream): number | undefined {
  if (stream.state === 'half-closed-remote') return errorCode.streamClosed;
  return stream.onAnswer === undefined ? undefined : errorCode.protocolError;
}
