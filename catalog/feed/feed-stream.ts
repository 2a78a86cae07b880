/** Bytes queued for one proxy beyond what the sockets hold. Above it the feed only remembers *what* changed and sends it as it is once it may. */
const queueBytes = 65_536;

/** What a feed writes next: called when there is room. Undefined: nothing now. */
export type NextLine = () => Uint8Array | undefined;

/**
 * The body of one feed with back-pressure. Nothing waits in it but what was already handed over: a slow reader costs a bounded queue and gets the newest
 * state when it reads on, never every state in between.
 */
export class FeedStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #next: NextLine;
  readonly #onEnd: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  /** @param onEnd called once, when the reader is gone or the feed was ended */
  constructor(next: NextLine, onEnd: () => void) {
    this.#next = next;
    this.#onEnd = onEnd;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.pump(),
        cancel: () => this.#ended(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: queueBytes }),
    );
  }

  /** True while the reader keeps up. */
  get hasRoom(): boolean {
    return (this.#controller?.desiredSize ?? 0) > 0;
  }

  /** Writes as much as there is and fits. */
  pump(): void {
    while (this.hasRoom) {
      const line = this.#next();
      if (line === undefined) return;
      this.#controller?.enqueue(line);
    }
  }

  /** Ends the answer; the proxy connects again. */
  end(): void {
    const controller = this.#controller;
    if (controller === undefined) return;
    this.#ended();
    controller.close();
  }

  #ended(): void {
    if (this.#controller === undefined) return;
    this.#controller = undefined;
    this.#onEnd();
  }
}
