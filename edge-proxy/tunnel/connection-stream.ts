import { errorCode } from './http2.ts';
import type { SendScheduler } from './send-scheduler.ts';
import { type ReceiverEvents, StreamReceiver } from './stream-receiver.ts';
import { type SenderEvents, StreamSender } from './stream-sender.ts';
import type { TunnelLimits } from './tunnel.ts';
import {
  type HeaderFields,
  type InboundTunnelStream,
  idleStreamHandlers,
  type ResetReason,
  type TunnelStreamHandlers,
} from './tunnel-stream.ts';

/** RFC 9113 5.1, from `open` on. */
export type StreamState = 'open' | 'half-closed-local' | 'half-closed-remote' | 'closed';

/** What a stream asks of its connection. */
export interface StreamOwner {
  readonly scheduler: SendScheduler;
  readonly limits: TunnelLimits;
  /** Monotonic, ms. */
  now(): number;
  sendAnswer(streamId: number, status: number, headers: HeaderFields, endStream: boolean): void;
  /** HEADERS behind the content, with END_STREAM. */
  sendTrailers(streamId: number, trailers: HeaderFields): void;
  /** RST_STREAM; frames of the peer that cross it are ignored. */
  sendReset(streamId: number, code: number): void;
  /** WINDOW_UPDATE, growing the window where that helps. @returns by how much it grew */
  credit(streamId: number, consumed: number, size: number, elapsedMs: number): number;
  /** The stream has left the protocol; `grown` goes back to the budget. */
  streamClosed(streamId: number, grown: number): void;
}

const resetCodes: Readonly<Record<ResetReason, number>> = {
  cancel: errorCode.cancel,
  refused: errorCode.refusedStream,
  connect: errorCode.connectError,
  internal: errorCode.internalError,
  protocol: errorCode.protocolError,
  answered: errorCode.noError,
};

/** What a stream is: which way it was opened, and whether it carries the bytes of a connection or a request. */
export type StreamKind = 'connect' | 'inbound-connect' | 'request' | 'inbound-request';

/** One stream of a connection: its state, its two halves, and its owner's handlers. */
export class ConnectionStream implements InboundTunnelStream, SenderEvents, ReceiverEvents {
  readonly id: number;
  readonly authority: string;
  handlers: TunnelStreamHandlers = idleStreamHandlers;
  userData: unknown = undefined;
  /** Takes the answer's head; undefined once it is here, and on the accepting side. */
  onAnswer: ((status: number, headers: HeaderFields, ends: boolean) => void) | undefined;
  /** Of the peer; told behind the content. */
  trailers: HeaderFields | undefined;
  /** 1xx answers so far. */
  informed = 0;
  readonly kind: StreamKind;

  readonly sender: StreamSender;
  readonly receiver: StreamReceiver;
  readonly #owner: StreamOwner;
  #state: StreamState = 'open';
  #answerDue: boolean;

  /** @param sendWindow the peer's initial stream window, bytes */
  constructor(owner: StreamOwner, id: number, authority: string, kind: StreamKind, sendWindow: number) {
    const inbound = kind === 'inbound-connect' || kind === 'inbound-request';
    this.id = id;
    this.authority = authority;
    this.kind = kind;
    this.#owner = owner;
    this.#answerDue = inbound;
    const { initialStreamWindow, streamHighWaterMark } = owner.limits;
    this.receiver = new StreamReceiver(this, { window: initialStreamWindow, paused: inbound });
    this.sender = new StreamSender(id, owner.scheduler, this, {
      state: inbound ? 'held' : 'open',
      window: sendWindow,
      highWaterMark: streamHighWaterMark,
    });
  }

  get state(): StreamState {
    return this.#state;
  }

  /** No answer to it has begun, of whichever side. */
  get unanswered(): boolean {
    return this.#answerDue || this.onAnswer !== undefined;
  }

  // The owner's side.

  write(data: Buffer | string): boolean {
    return this.sender.write(data);
  }

  writePassing(data: Buffer): boolean {
    return this.sender.writePassing(data);
  }

  end(trailers?: HeaderFields): void {
    this.sender.end(trailers);
  }

  reset(reason: ResetReason): void {
    this.abandon(resetCodes[reason]);
  }

  pause(): void {
    this.receiver.pause();
  }

  resume(): void {
    if (!this.#answerDue || this.kind !== 'inbound-connect') this.receiver.resume();
  }

  accept(headers: HeaderFields = []): void {
    if (!this.#answerDue || this.#state === 'closed') return;
    this.answer(200, headers);
    this.receiver.resume();
  }

  answer(status: number, headers: HeaderFields): void {
    if (!this.#answerDue || this.#state === 'closed') return;
    this.#answerDue = false;
    this.#owner.sendAnswer(this.id, status, headers, false);
    this.sender.release();
  }

  inform(status: number, headers: HeaderFields): void {
    if (this.#answerDue && this.#state !== 'closed') this.#owner.sendAnswer(this.id, status, headers, false);
  }

  breakOff(trailers: HeaderFields): void {
    if (this.#answerDue || this.#state === 'closed' || this.#state === 'half-closed-local') return;
    this.#owner.sendTrailers(this.id, trailers);
    this.#discard();
    if (this.#state === 'open') this.#owner.sendReset(this.id, errorCode.noError);
    this.#close();
  }

  refuse(status: number, headers: HeaderFields = []): void {
    if (!this.#answerDue || this.#state === 'closed') return;
    this.#answerDue = false;
    this.#owner.sendAnswer(this.id, status, headers, true);
    this.#discard();
    // The peer may still be sending: tell it, without blame, that nobody reads (RFC 9113 8.1).
    if (this.#state === 'open') this.#owner.sendReset(this.id, errorCode.noError);
    this.#close();
  }

  // The connection's side.

  /** The head that was sent ended our side. */
  sentWhole(): void {
    this.#state = 'half-closed-local';
    this.sender.discard();
  }

  /** The peer has sent END_STREAM. */
  remoteEnded(): void {
    if (this.#state === 'open') this.#state = 'half-closed-remote';
    else this.#close();
    this.receiver.end();
  }

  /** Nothing more is sent; what has come is still told. */
  notWanted(): void {
    this.sender.discard();
    this.#close();
  }

  /** The stream ended without both sides agreeing: by RST_STREAM, GOAWAY or the end of the tunnel. */
  broken(code: number, remote: boolean): void {
    if (this.#state === 'closed') return;
    this.#discard();
    this.#close();
    this.handlers.onReset(code, remote);
  }

  /** Ends the stream with RST_STREAM, without telling the owner. */
  abandon(code: number): void {
    this.#discard();
    if (this.#state === 'closed') return;
    this.#owner.sendReset(this.id, code);
    this.#close();
  }

  /** Ends a stream whose answer was not 2xx. Its END_STREAM is answered with ours, so that refusals do not count as resets at the peer. */
  refused(endStream: boolean): void {
    if (!endStream) {
      this.abandon(errorCode.cancel);
      return;
    }
    this.#discard();
    if (this.#state === 'open') this.#owner.scheduler.sendEnd(this.id);
    this.#close();
  }

  // What the halves tell.

  localEnded(): void {
    if (this.#state === 'open') this.#state = 'half-closed-local';
    else this.#close();
    this.handlers.onFinish?.();
  }

  drained(): void {
    this.handlers.onDrain();
  }

  deliver(chunk: Buffer): void {
    this.handlers.onData(chunk);
  }

  delivered(): void {
    if (this.trailers !== undefined) this.handlers.onTrailers?.(this.trailers);
    this.handlers.onEnd();
  }

  sendTrailers(trailers: HeaderFields): void {
    this.#owner.sendTrailers(this.id, trailers);
  }

  credit(consumed: number, size: number, elapsedMs: number): number {
    return this.#state === 'closed' ? 0 : this.#owner.credit(this.id, consumed, size, elapsedMs);
  }

  now(): number {
    return this.#owner.now();
  }

  #discard(): void {
    this.sender.discard();
    this.receiver.discard();
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#owner.streamClosed(this.id, this.receiver.grown);
  }
}
