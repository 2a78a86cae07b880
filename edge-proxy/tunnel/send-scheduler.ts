import type { FrameWriter } from './frame-writer.ts';
import { defaultWindow, maxFrameSize, maxInt31 } from './http2.ts';
import type { StreamSender } from './stream-sender.ts';

/**
 * Shares the connection among the streams that have something to send: in turn, one DATA frame each, while the peer's connection window and the output
 * take it. Outside of `pump`, a stream stands in line only when the output is blocked or the connection window is used up.
 */
export class SendScheduler {
  readonly #writer: FrameWriter;
  /** The peer's connection window, bytes. */
  #window = defaultWindow;
  #first: StreamSender | undefined;
  #last: StreamSender | undefined;
  #pumping = false;

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  /** Sends right away when nobody waits and there is room: the hot path. @returns false: nothing was sent */
  sendNow(streamId: number, data: Buffer | string): boolean {
    const size = data.length;
    if (size > maxFrameSize || size > this.#window || this.#first !== undefined || this.#writer.blocked) return false;
    this.#window -= size;
    this.#writer.beginData(streamId, size, false);
    if (typeof data === 'string') this.#writer.appendText(data);
    else this.#writer.append(data, 0, size);
    return true;
  }

  /** Sends of these bytes what can be sent right away, at most `limit`. @returns how many */
  sendBeginning(streamId: number, data: Buffer, limit: number): number {
    const size = Math.min(data.length, limit);
    let sent = 0;
    while (sent < size && this.#window > 0 && this.#first === undefined && !this.#writer.blocked) {
      const length = Math.min(size - sent, maxFrameSize, this.#window);
      this.#window -= length;
      this.#writer.beginData(streamId, length, false);
      this.#writer.append(data, sent, sent + length);
      sent += length;
    }
    return sent;
  }

  /** END_STREAM, with the last DATA or in a frame without any: takes no window. */
  sendEnd(streamId: number): void {
    this.#writer.endData(streamId);
  }

  /** WINDOW_UPDATE for the connection. @returns false: the window overflows (RFC 9113 6.9.1) */
  widen(increment: number): boolean {
    this.#window += increment;
    if (this.#window > maxInt31) return false;
    this.pump();
    return true;
  }

  /** Puts a stream with bytes and window in line, once. */
  enqueue(sender: StreamSender): void {
    if (sender.inLine) return;
    sender.inLine = true;
    if (this.#last === undefined) this.#first = sender;
    else this.#last.next = sender;
    this.#last = sender;
  }

  /** Sends what can be sent. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#first !== undefined && this.#window > 0 && !this.#writer.blocked) {
        const sender = this.#first;
        this.#first = sender.next;
        if (this.#first === undefined) this.#last = undefined;
        sender.next = undefined;
        sender.inLine = false;
        const sent = sender.sendFrame(this.#writer, Math.min(this.#window, maxFrameSize));
        this.#window -= sent;
        sender.frameSent();
      }
    } finally {
      this.#pumping = false;
    }
  }
}
