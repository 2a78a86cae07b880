/** What a receiver asks of its stream. */
export interface ReceiverEvents {
  /** Hand bytes to the owner. */
  deliver(chunk: Buffer): void;
  /** Everything has been delivered, and the peer sends no more. */
  delivered(): void;
  /** `consumed` bytes were delivered since the last credit; gives credit on the wire. @returns what the window grew by */
  credit(consumed: number, size: number, elapsedMs: number): number;
  /** Monotonic, ms. */
  now(): number;
}

/** Small chunks that a paused stream holds are copied into blocks of this size, so that they do not keep the large buffers alive that they were cut from. */
const blockSize = 4_096;

/** The receiving half of a stream: our stream window, and what a paused owner has not taken yet. Never holds more than the window, twice at worst. */
export class StreamReceiver {
  readonly #events: ReceiverEvents;
  readonly #initialSize: number;
  #paused: boolean;
  /** `open`; `ended`: END_STREAM is here, not yet told; `done`: told, or discarded. */
  #state: 'open' | 'ended' | 'done' = 'open';
  /** Bytes that the peer may still send. */
  #window: number;
  /** What the window is when all is consumed. */
  #size: number;
  /** Consumed, and not yet given back. */
  #uncredited = 0;
  #consumedThisRound = 0;
  #roundStartedMs: number;

  #held: Buffer[] = [];
  #block: Buffer | undefined;
  #blockUsed = 0;
  #delivering = false;

  constructor(events: ReceiverEvents, options: { window: number; paused: boolean }) {
    this.#events = events;
    this.#window = options.window;
    this.#size = options.window;
    this.#initialSize = options.window;
    this.#paused = options.paused;
    this.#roundStartedMs = events.now();
  }

  /** Bytes by which the window has grown. */
  get grown(): number {
    return this.#size - this.#initialSize;
  }

  /** Accounts for received bytes, padding included. @returns false: more than the window allows */
  take(flowBytes: number): boolean {
    this.#window -= flowBytes;
    return this.#window >= 0;
  }

  data(chunk: Buffer): void {
    if (this.#paused || this.#delivering || this.#held.length > 0 || this.#block !== undefined) {
      this.#hold(chunk);
      return;
    }
    this.#events.deliver(chunk);
    this.consumed(chunk.length);
  }

  end(): void {
    this.#state = 'ended';
    this.#drain();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#drain();
  }

  /** Nothing more is delivered. */
  discard(): void {
    this.#state = 'done';
    this.#held = [];
    this.#block = undefined;
  }

  /** Bytes have been delivered (or were padding): gives them back once they are half a window. */
  consumed(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#uncredited * 2 < this.#size || this.#state !== 'open') return;
    const consumed = this.#uncredited;
    this.#uncredited = 0;
    this.#consumedThisRound += consumed;
    let elapsedMs = Number.POSITIVE_INFINITY;
    if (this.#consumedThisRound >= this.#size) {
      const now = this.#events.now();
      elapsedMs = now - this.#roundStartedMs;
      this.#roundStartedMs = now;
      this.#consumedThisRound = 0;
    }
    const grown = this.#events.credit(consumed, this.#size, elapsedMs);
    this.#size += grown;
    this.#window += consumed + grown;
  }

  #drain(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      while (!this.#paused) {
        const chunk = this.#held.shift() ?? this.#closeBlock();
        if (chunk === undefined) break;
        this.#events.deliver(chunk);
        this.consumed(chunk.length);
      }
    } finally {
      this.#delivering = false;
    }
    if (this.#paused || this.#state !== 'ended') return;
    this.#state = 'done';
    this.#events.delivered();
  }

  #hold(chunk: Buffer): void {
    if (chunk.length >= blockSize && chunk.length * 2 >= chunk.buffer.byteLength) {
      const block = this.#closeBlock();
      if (block !== undefined) this.#held.push(block);
      this.#held.push(chunk);
      return;
    }
    let start = 0;
    while (start < chunk.length) {
      this.#block ??= Buffer.allocUnsafeSlow(blockSize);
      const copied = chunk.copy(this.#block, this.#blockUsed, start);
      start += copied;
      this.#blockUsed += copied;
      if (this.#blockUsed < blockSize) continue;
      this.#held.push(this.#block);
      this.#block = undefined;
      this.#blockUsed = 0;
    }
  }

  #closeBlock(): Buffer | undefined {
    const block = this.#block?.subarray(0, this.#blockUsed);
    this.#block = undefined;
    this.#blockUsed = 0;
    return block;
  }
}
