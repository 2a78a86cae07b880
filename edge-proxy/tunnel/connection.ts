import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type FairTurns, fairTurns, idleTurns } from './fair-turns.ts';
import { FloodGuard } from './flood-guard.ts';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import { type FrameOutput, FrameWriter } from './frame-writer.ts';
import { HpackDecoder, maxAnswerFields, maxFieldSectionSize, maxRequestFields } from './hpack-decoder.ts';
import { connectionPreface, defaultWindow, errorCode, Http2ConnectionError, maxInt31, settingId } from './http2.ts';
import { PacedInput } from './paced-input.ts';
import { PeerSettings } from './peer-settings.ts';
import { SignsOfLife } from './signs-of-life.ts';
import { type EndingsLine, StreamEndings } from './stream-endings.ts';
import { StreamTable } from './stream-table.ts';
import type { AcceptingHandlers, OriginTunnel, TunnelHandlers, TunnelLimits, TunnelState } from './tunnel.ts';
import type { HeaderFields, TunnelStream } from './tunnel-stream.ts';
import { WindowGrowth } from './window-growth.ts';

/** A window given in smaller pieces, bytes, costs more than it lets us send. */
const leastWindow = 64;

export interface Http2ConnectionOptions extends FrameOutput {
  readonly role: 'client' | 'server';
  readonly limits: TunnelLimits;
  /** Monotonic, ms. */
  now(): number;
  /** `onStream` is for a server, which needs it; a client has none. */
  readonly handlers: TunnelHandlers & Partial<AcceptingHandlers>;
  /** Offers requests to `onStream`, not only CONNECT; extended CONNECT (RFC 8441) is one. */
  readonly requests?: boolean;
  /** Who the peer is: its connections are read in turn with those of others. Default: somebody else on each. */
  readonly source?: unknown;
  /** Default: those of this thread. */
  readonly turns?: FairTurns;
  readonly idleTurns?: FairTurns;
  /** A peer that resets streams more often than it may has to wait for so long before more of it is read, ms. Absent: its connection is cut. */
  calm?(waitMs: number): void;
  /** Has whoever calls `receive` stop for a while, or go on: there is more than can be read now. */
  hold(held: boolean): void;
}

/**
 * One HTTP/2 connection (RFC 9113) that carries CONNECT streams and requests, without a socket: bytes come in by `receive`, go out by `write`, and time passes by
 * `checkTimers`, to be called about once a second. This is its life from greeting to farewell; its streams are the StreamTable's.
 */
export class Http2Connection implements FrameSink, OriginTunnel {
  readonly #options: Http2ConnectionOptions;
  /** Where it stands with what takes more than a slice. */
  readonly #line: EndingsLine;
  readonly #limits: TunnelLimits;
  readonly #writer: FrameWriter;
  readonly #reader: FrameReader;
  readonly #input: PacedInput;
  readonly #decoder: HpackDecoder;
  readonly #floods: FloodGuard;
  readonly #growth: WindowGrowth;
  readonly #life: SignsOfLife;
  readonly #peer: PeerSettings;
  readonly #streams: StreamTable;

  #state: TunnelState = 'open';
  /** What we have said of draining: nothing, that we will, or which stream is the last. */
  #farewell: 'none' | 'announced' | 'said' = 'none';
  #peerGoAway: { lastStreamId: number; code: number; debug: string } | undefined;
  /** What the peer may send on the whole connection, bytes: when all is given back, and now. */
  readonly #windowSize: number;
  #window: number;
  #settingsSeen = false;
  /** The head that was not whole when it was last looked, and since when. */
  #pendingHead: number | undefined;
  #pendingSinceMs = 0;

  constructor(options: Http2ConnectionOptions) {
    this.#options = options;
    const { role } = options;
    // A peer that has not seen our SETTINGS yet may send as much as the default window (RFC 9113 6.9.3): less is never held against it.
    const initialStreamWindow = Math.max(defaultWindow, options.limits.initialStreamWindow);
    const limits = { ...options.limits, initialStreamWindow };
    this.#limits = limits;
    this.#decoder = new HpackDecoder(role === 'client' ? maxAnswerFields : maxRequestFields);
    this.#writer = new FrameWriter(options);
    this.#reader = new FrameReader(role, this);
    this.#line = { source: options.source ?? this, turns: options.turns ?? fairTurns, now: options.now };
    this.#input = new PacedInput({
      ...this.#line,
      idleTurns: options.idleTurns ?? idleTurns,
      read: (chunk, offset, frames) => this.#read(chunk, offset, frames),
      wasted: () => this.#floods.wasted,
      bodies: () => this.#streams.bodies,
      readDone: () => this.#floods.settle(),
      hold: options.hold,
    });
    this.#floods = new FloodGuard(options.now, limits.resets, options.calm);
    this.#growth = new WindowGrowth(limits.maxStreamWindow, limits.windowGrowthBudget);
    this.#life = new SignsOfLife(this.#writer, this.#growth, limits, options.now());
    this.#peer = new PeerSettings(role);
    this.#streams = new StreamTable({
      role,
      limits,
      writer: this.#writer,
      floods: this.#floods,
      growth: this.#growth,
      life: this.#life,
      peer: this.#peer,
      now: options.now,
      onStream: options.handlers.onStream,
      requests: options.requests ?? false,
      closed: () => this.#closeWhenDrained(),
    });
    this.#windowSize = Math.max(defaultWindow, limits.connectionWindow);
    this.#window = this.#windowSize;
    this.#greet(options, limits);
  }

  // The owner's side: see OriginTunnel.

  get state(): TunnelState {
    return this.#state;
  }

  get activeStreams(): number {
    return this.#streams.size;
  }

  get roundTripMs(): number | undefined {
    return this.#growth.roundTripMs;
  }

  get available(): number {
    return this.#state === 'open' && !this.#writer.congested ? this.#streams.available : 0;
  }

  get takesProtocols(): boolean {
    return this.#peer.takesProtocols;
  }

  open(
    authority: string,
    headers: HeaderFields,
    onAnswer: (status: number, headers: HeaderFields) => void,
  ): TunnelStream {
    if (this.available === 0) throw new MeshError('SLV-4104', 'The tunnel takes no more streams.');
    return this.#streams.open(authority, headers, onAnswer);
  }

  request(
    fields: HeaderFields,
    whole: boolean,
    onAnswer: (status: number, headers: HeaderFields, ends: boolean) => void,
  ): TunnelStream {
    if (this.available === 0) throw new MeshError('SLV-4104', 'The tunnel takes no more streams.');
    return this.#streams.request(fields, whole, onAnswer);
  }

  /** A server says first that it will drain, and a round trip later which stream is the last, so that none is lost on the way (RFC 9113 6.8). */
  goAway(): void {
    if (this.#state === 'closed' || this.#farewell !== 'none') return;
    this.#state = 'draining';
    if (this.#options.role === 'client') {
      this.#sayFarewell();
      return;
    }
    this.#farewell = 'announced';
    this.#writer.goAway(maxInt31, errorCode.noError, '');
    this.#life.pingForFarewell(this.#options.now());
  }

  close(code: number = errorCode.noError, why = ''): void {
    if (this.#state === 'closed') return;
    this.#writer.goAway(this.#streams.lastPeerStream, code, why);
    this.#close(undefined);
  }

  // The socket's side.

  /** Takes bytes of the peer, which must not be changed afterwards. Throws only what a handler has thrown; the connection is closed then. */
  receive(chunk: Buffer): void {
    if (this.#state === 'closed') return;
    this.#life.heard(this.#options.now());
    this.#input.receive(chunk);
  }

  #read(chunk: Buffer, offset: number, frames: number): number {
    try {
      return this.#reader.receive(chunk, offset, frames);
    } catch (error) {
      if (error instanceof Http2ConnectionError) {
        this.#fail(error.code, error.message, meshCodeOf(error.code), error.ofCallers);
        return chunk.length;
      }
      this.#fail(errorCode.internalError, 'internal error');
      throw error;
    }
  }

  /** The output takes bytes again after a `write` that answered false. */
  drained(): void {
    if (this.#state === 'closed') return;
    this.#writer.drained();
    this.#streams.scheduler.pump();
  }

  /** The transport is gone; `cause` when it broke. What has come of the peer is read first. */
  lost(cause?: Error): void {
    this.#input.finish(() => this.#lost(cause));
  }

  #lost(cause: Error | undefined): void {
    const failed = this.#goAwayError();
    if (failed !== undefined) this.#close(failed);
    else if (cause === undefined && this.#state === 'draining' && this.#streams.size === 0) this.#close(undefined);
    else this.#close(new MeshError('SLV-4103', 'The connection of the tunnel was lost.', { cause }));
  }

  /** Keep-alive, time-outs, the last GOAWAY of a drain, and a peer that does not read. */
  checkTimers(): void {
    if (this.#state === 'closed') return;
    const now = this.#options.now();
    const unanswered = this.#life.check(now);
    if (unanswered === 'settings') this.#fail(errorCode.settingsTimeout, 'SETTINGS not acknowledged', 'SLV-4102');
    else if (unanswered === 'ping') this.#fail(errorCode.noError, 'no sign of life', 'SLV-4102');
    else if (this.#writer.overflowing) this.#fail(errorCode.enhanceYourCalm, 'peer does not read');
    else if (this.#headOverdue(now)) this.#fail(errorCode.enhanceYourCalm, 'slow head');
    else if (this.#farewell === 'announced' && this.#life.farewellOverdue(now)) this.#sayFarewell();
    this.#streams.checkTimers(now);
  }

  /** A head whose frames do not come to an end holds memory, and keeps all other frames away. */
  #headOverdue(nowMs: number): boolean {
    const pending = this.#reader.pendingHead;
    if (pending === undefined || pending !== this.#pendingHead) {
      this.#pendingHead = pending;
      this.#pendingSinceMs = nowMs;
    }
    return pending !== undefined && nowMs - this.#pendingSinceMs >= this.#limits.answerTimeoutMs;
  }

  // FrameSink: what the peer sends. Each throws Http2ConnectionError where RFC 9113 asks for a connection error.

  data(streamId: number, chunk: Buffer, start: number, end: number, flowBytes: number, endStream: boolean): void {
    this.#window -= flowBytes;
    if (this.#window < 0) throw new Http2ConnectionError(errorCode.flowControlError, 'connection window exceeded');
    // Given back on receipt, in halves: only a stream's own window holds its bytes back.
    if (this.#window * 2 <= this.#windowSize) {
      this.#writer.windowUpdate(0, this.#windowSize - this.#window);
      this.#window = this.#windowSize;
    }
    this.#streams.data(streamId, chunk, start, end, flowBytes, endStream);
  }

  headers(
    streamId: number,
    chunk: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    dependsOnItself: boolean,
  ): void {
    this.#requireSettings();
    // Decoded whatever becomes of it: the decoder's state is the connection's.
    const fields = this.#decoder.decode(chunk, start, end);
    this.#streams.head(
      streamId,
      { fields, over: this.#decoder.over, wellFormed: this.#decoder.wellFormed },
      endStream,
      dependsOnItself,
    );
  }

  rstStream(streamId: number, code: number): void {
    this.#requireSettings();
    this.#streams.rstStream(streamId, code);
  }

  settings(entries: Buffer): void {
    this.#floods.count('settings');
    const first = !this.#settingsSeen;
    this.#settingsSeen = true;
    const change = this.#peer.apply(entries);
    // Acknowledged first: what the change lets us send comes after it.
    this.#writer.settingsAck();
    this.#writer.encoder.limitTable(this.#peer.headerTableSize);
    if (change !== 0) this.#streams.widenAll(change);
    if (first) this.#options.handlers.onReady?.();
  }

  settingsAck(): void {
    this.#requireSettings();
    if (this.#life.settingsAcknowledged(this.#options.now())) this.#decoder.limitTable(this.#limits.headerTableSize);
    else this.#floods.count('control');
  }

  ping(opaque: Buffer): void {
    this.#requireSettings();
    this.#floods.count('pings');
    this.#writer.ping(opaque, true);
  }

  pingAck(opaque: Buffer): void {
    this.#requireSettings();
    const meaning = this.#life.answered(opaque, this.#options.now());
    if (meaning === 'farewell' && this.#farewell === 'announced') this.#sayFarewell();
    else if (meaning !== 'known') this.#floods.count('control');
  }

  goAwayReceived(lastStreamId: number, code: number, debug: string): void {
    this.#requireSettings();
    this.#floods.count('control');
    const before = this.#peerGoAway;
    if (before !== undefined && lastStreamId > before.lastStreamId) {
      throw new Http2ConnectionError(errorCode.protocolError, 'GOAWAY takes back an earlier one');
    }
    this.#peerGoAway = { lastStreamId, code, debug };
    this.#state = 'draining';
    if (this.#options.role === 'client') this.#streams.refusedAbove(lastStreamId);
    if (before === undefined) this.#options.handlers.onGoAway?.();
    this.#closeWhenDrained();
  }

  windowUpdate(streamId: number, increment: number): void {
    this.#requireSettings();
    if (increment < leastWindow) this.#floods.waste();
    if (streamId !== 0) {
      this.#streams.windowUpdate(streamId, increment);
    } else if (increment === 0) {
      throw new Http2ConnectionError(errorCode.protocolError, 'WINDOW_UPDATE by 0');
    } else if (!this.#streams.scheduler.widen(increment)) {
      throw new Http2ConnectionError(errorCode.flowControlError, 'connection window overflows');
    }
  }

  ignored(): void {
    this.#requireSettings();
    this.#floods.count('control');
  }

  // Inside.

  #greet({ role, requests }: Http2ConnectionOptions, limits: TunnelLimits): void {
    if (role === 'client') this.#writer.raw(connectionPreface);
    this.#writer.settings([
      [settingId.headerTableSize, limits.headerTableSize],
      [settingId.initialWindowSize, limits.initialStreamWindow],
      [settingId.maxHeaderListSize, maxFieldSectionSize],
      role === 'client' ? [settingId.enablePush, 0] : [settingId.maxConcurrentStreams, limits.maxConcurrentStreams],
      ...(role === 'server' && requests === true ? [[settingId.enableConnectProtocol, 1] as const] : []),
    ]);
    if (this.#window > defaultWindow) this.#writer.windowUpdate(0, this.#window - defaultWindow);
  }

  #requireSettings(): void {
    if (!this.#settingsSeen) throw new Http2ConnectionError(errorCode.protocolError, 'first frame is not SETTINGS');
  }

  #sayFarewell(): void {
    this.#farewell = 'said';
    this.#streams.takeNoMore();
    this.#writer.goAway(this.#streams.lastPeerStream, errorCode.noError, '');
    this.#closeWhenDrained();
  }

  #closeWhenDrained(): void {
    if (this.#state !== 'draining' || this.#streams.size > 0 || this.#farewell === 'announced') return;
    if (this.#farewell === 'none') this.#writer.goAway(this.#streams.lastPeerStream, errorCode.noError, '');
    this.#close(this.#goAwayError());
  }

  /** The peer's GOAWAY, where it named an error. */
  #goAwayError(): MeshError | undefined {
    if (this.#peerGoAway === undefined || this.#peerGoAway.code === errorCode.noError) return undefined;
    const { code, debug } = this.#peerGoAway;
    const words = debug.replaceAll(/[^\x20-\x7e]/g, '?') || 'no words';
    return new MeshError('SLV-4105', `The peer closed the tunnel with HTTP/2 error ${code}: ${words}.`, {
      detail: { http2Code: code },
    });
  }

  /** A connection error (RFC 9113 5.4.1). */
  #fail(code: number, message: string, meshCode: ErrorCode = meshCodeOf(code), ofCallers = false): void {
    if (this.#state === 'closed') return;
    this.#writer.goAway(this.#streams.lastPeerStream, code, message);
    this.#close(new MeshError(meshCode, `Tunnel closed: ${message}.`, { detail: { http2Code: code, ofCallers } }));
  }

  #close(reason: MeshError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#reader.stop();
    this.#input.discard();
    this.#writer.close();
    new StreamEndings(this.#streams.takeAll(), errorCode.cancel, this.#line).goOn();
    this.#options.handlers.onClose(reason);
  }
}

function meshCodeOf(http2Code: number): ErrorCode {
  if (http2Code === errorCode.enhanceYourCalm) return 'SLV-4106';
  return http2Code === errorCode.internalError ? 'SLV-1007' : 'SLV-4101';
}
