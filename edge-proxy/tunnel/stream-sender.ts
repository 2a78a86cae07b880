import type { FrameWriter } from './frame-writer.ts';
import { maxInt31 } from './http2.ts';
import type { SendScheduler } from './send-scheduler.ts';
import type { HeaderFields } from './tunnel-stream.ts';

/** What a sender tells its stream. */
export interface SenderEvents {
  /** END_STREAM has been sent. */
  localEnded(): void;
  /** Sends these, with END_STREAM. */
  sendTrailers(trailers: HeaderFields): void;
  /** What waited has shrunk to half of the high-water mark. */
  drained(): void;
}

/** `held`: not to be sent yet (no answer given); `open`; `ending`: END_STREAM follows what waits; `ended`: nothing may be sent. */
export type SenderState = 'held' | 'open' | 'ending' | 'held-ending' | 'ended';

/** The sending half of a stream: the peer's stream window, and the bytes that wait for it, for the connection or for the output. */
export class StreamSender {
  /** Line of the scheduler: who is next, and whether this one stands in it. */
  next: StreamSender | undefined;
  inLine = false;

  readonly #streamId: number;
  readonly #scheduler: SendScheduler;
  readonly #events: SenderEvents;
  readonly #highWaterMark: number;
  #state: SenderState;
  /** The peer's stream window, bytes; a SETTINGS change can make it negative (RFC 9113 6.9.2). */
  #window: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Octets of the first waiting buffer that have been sent. */
  #sentOfFirst = 0;
  #drainDue = false;
  #trailers: HeaderFields | undefined;
  /** Frames sent; how many there were when the stream was last seen to move, and when that was. */
  #frames = 0;
  #framesSeen = 0;
  #movedAtMs: number | undefined;

  constructor(
    streamId: number,
    scheduler: SendScheduler,
    events: SenderEvents,
    options: { state: 'held' | 'open'; window: number; highWaterMark: number },
  ) {
    this.#streamId = streamId;
    this.#scheduler = scheduler;
    this.#events = events;
    this.#state = options.state;
    this.#window = options.window;
    this.#highWaterMark = options.highWaterMark;
  }

  get state(): SenderState {
    return this.#state;
  }

  write(data: Buffer | string): boolean {
    const size = data.length;
    if ((this.#state !== 'open' && this.#state !== 'held') || size === 0) return true;
    if (
      this.#state === 'open' &&
      this.#waitingBytes === 0 &&
      size <= this.#window &&
      this.#scheduler.sendNow(this.#streamId, data)
    ) {
      this.#window -= size;
      return true;
    }
    this.#waiting.push(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
    this.#waitingBytes += size;
    this.#line();
    if (this.#waitingBytes < this.#highWaterMark) return true;
    this.#drainDue = true;
    return false;
  }

  writePassing(data: Buffer): boolean {
    const direct = this.#state === 'open' && this.#waitingBytes === 0;
    const sent = direct ? this.#scheduler.sendBeginning(this.#streamId, data, this.#window) : 0;
    this.#window -= sent;
    return sent === data.length || this.write(Buffer.from(data.subarray(sent)));
  }

  end(trailers?: HeaderFields): void {
    if (this.#state !== 'held' && this.#state !== 'open') return;
    this.#trailers = trailers;
    if (this.#state === 'held') this.#state = 'held-ending';
    else if (this.#waitingBytes > 0) this.#state = 'ending';
    else this.#sendEnd();
  }

  /** For how long it has been waiting, without a byte sent, ms; 0: nothing waits. To be asked every now and then. */
  stalledMs(nowMs: number): number {
    if (this.#waitingBytes === 0) this.#movedAtMs = undefined;
    else if (this.#movedAtMs === undefined || this.#frames !== this.#framesSeen) this.#movedAtMs = nowMs;
    this.#framesSeen = this.#frames;
    return this.#movedAtMs === undefined ? 0 : nowMs - this.#movedAtMs;
  }

  /** The answer has been sent: data may follow. */
  release(): void {
    if (this.#state === 'held') {
      this.#state = 'open';
      this.#line();
    } else if (this.#state === 'held-ending') {
      this.#state = 'open';
      this.end(this.#trailers);
      this.#line();
    }
  }

  /** Nothing is sent any more. */
  discard(): void {
    this.#state = 'ended';
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#drainDue = false;
  }

  /** WINDOW_UPDATE, or a change of the initial window. @returns false: the window overflows */
  widen(increment: number): boolean {
    this.#window += increment;
    if (this.#window > maxInt31) return false;
    this.#line();
    return true;
  }

  /** One DATA frame of at most `limit` octets, for the scheduler. @returns its length */
  sendFrame(writer: FrameWriter, limit: number): number {
    const length = Math.min(limit, this.#window, this.#waitingBytes);
    if (length <= 0) return 0;
    const last = this.#state === 'ending' && this.#trailers === undefined && length === this.#waitingBytes;
    writer.beginData(this.#streamId, length, last);
    this.#frames += 1;
    this.#take(writer, length);
    this.#window -= length;
    return length;
  }

  /** What follows from a frame, once the scheduler has accounted for it: the owner may write again in here. */
  frameSent(): void {
    if (this.#waitingBytes > 0 && this.#window > 0) this.#scheduler.enqueue(this);
    if (this.#state === 'ending' && this.#waitingBytes === 0) {
      this.#state = 'ended';
      if (this.#trailers !== undefined) this.#events.sendTrailers(this.#trailers);
      this.#events.localEnded();
    } else if (this.#drainDue && this.#state === 'open' && this.#waitingBytes * 2 <= this.#highWaterMark) {
      this.#drainDue = false;
      this.#events.drained();
    }
  }

  #sendEnd(): void {
    this.#state = 'ended';
    if (this.#trailers === undefined) this.#scheduler.sendEnd(this.#streamId);
    else this.#events.sendTrailers(this.#trailers);
    this.#events.localEnded();
  }

  #take(writer: FrameWriter, length: number): void {
    let rest = length;
    while (rest > 0) {
      const first = this.#waiting[0];
      if (first === undefined) throw new RangeError('a sender counts more bytes than it holds');
      const end = Math.min(first.length, this.#sentOfFirst + rest);
      writer.append(first, this.#sentOfFirst, end);
      rest -= end - this.#sentOfFirst;
      this.#sentOfFirst = end;
      if (end === first.length) {
        this.#waiting.shift();
        this.#sentOfFirst = 0;
      }
    }
    this.#waitingBytes -= length;
  }

  #line(): void {
    if (this.#waitingBytes === 0 || this.#window <= 0) return;
    if (this.#state !== 'open' && this.#state !== 'ending') return;
    this.#scheduler.enqueue(this);
    this.#scheduler.pump();
  }
}
