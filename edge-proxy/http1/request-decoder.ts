import { BodyReader } from './body-reader.ts';
import { CR, LF } from './byte-classes.ts';
import { type Fault, type Refusal, refuseRequest } from './fault.ts';
import { FAULT, HeadFinder, MORE } from './head-finder.ts';
import { HeaderBlock } from './header-block.ts';
import { InputWindow } from './input-window.ts';
import { type Http1Limits, requestLimits } from './limits.ts';
import type { RequestHead } from './message.ts';
import { readRequestHead } from './request-head.ts';

/** What a decoder of requests tells. Calls come synchronously from `execute`, `resume`, `passThrough` and `end`. */
export interface RequestHandlers {
  onHead(head: RequestHead): void;
  /** Decoded bytes of the body: a view of the caller's chunk, good as long as that is. Never empty. */
  onBody(chunk: Buffer): void;
  /** The request is whole. Call `pause` here, so that a pipelined one waits for the answer. */
  onComplete(): void;
  /** Nothing comes after it: answer if nothing was answered, and close. May come behind onHead, in the midst of a body. */
  onRefusal(refusal: Refusal): void;
}

type Phase = 'start' | 'head' | 'body' | 'raw' | 'stopped';

/** Decodes the requests of one connection, strictly, whatever the pieces in which the bytes come. Never throws. */
export class RequestDecoder {
  #phase: Phase = 'start';
  #paused = false;
  #running = false;
  #ended = false;
  /** The one empty line before a request that is tolerated (RFC 9112 2.2) was there. */
  #skippedLine = false;
  readonly #window = new InputWindow();
  readonly #finder = new HeadFinder();
  readonly #block = new HeaderBlock();
  readonly #body: BodyReader;
  readonly #handlers: RequestHandlers;
  readonly #limits: Http1Limits;

  constructor(handlers: RequestHandlers, limits: Partial<Http1Limits> = {}) {
    this.#handlers = handlers;
    this.#limits = { ...requestLimits, ...limits };
    this.#body = new BodyReader(this.#limits);
  }

  /** Takes bytes as they came. While paused they are held: stop reading the socket when `heldBytes` grows. */
  execute(chunk: Buffer): void {
    if (this.#phase === 'stopped' || this.#ended) return;
    this.#window.append(chunk);
    this.#run();
  }

  /** The connection's end: a request that is not whole is refused. */
  end(): void {
    this.#ended = true;
    this.#run();
  }

  /** No handler is called any more until `resume`. */
  pause(): void {
    this.#paused = true;
  }

  /** Goes on, at once with what is held. Inside a handler: when that returns. */
  resume(): void {
    this.#paused = false;
    this.#run();
  }

  /** From here on the connection speaks something else (an upgrade was answered with 101): all bytes, held ones first, go to onBody as they are. */
  passThrough(): void {
    if (this.#phase === 'stopped') return;
    this.#phase = 'raw';
    this.#run();
  }

  /** Bytes taken and not digested. */
  get heldBytes(): number {
    return this.#window.length;
  }

  /** Between requests: nothing of a next one has come. */
  get idle(): boolean {
    return this.#phase === 'start' && this.#window.length === 0;
  }

  /** Nothing more will come of it: refused, or ended and digested. */
  get spent(): boolean {
    return this.#phase === 'stopped';
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.#paused && this.#step());
    } finally {
      this.#running = false;
      if (this.#window.length === 0) this.#window.clear(); // an idle connection holds no chunk
    }
  }

  /** @returns whether to go on */
  #step(): boolean {
    switch (this.#phase) {
      case 'start':
        return this.#skipLine() || this.#endBetween();
      case 'head':
        return this.#readHead();
      case 'body':
        return this.#readBody();
      case 'raw':
        if (this.#window.length > 0) this.#handlers.onBody(this.#window.take(this.#window.length));
        return this.#window.length > 0;
      case 'stopped':
        return false;
    }
  }

  #skipLine(): boolean {
    const { bytes, at, end } = this.#window;
    if (at === end) return false;
    if (bytes[at] === CR) {
      if (at + 1 === end) return false;
      if (bytes[at + 1] === LF) {
        if (this.#skippedLine) return this.#refuse(emptyLines);
        this.#skippedLine = true;
        this.#window.at += 2;
        return true;
      }
    }
    this.#phase = 'head';
    return true;
  }

  #endBetween(): boolean {
    if (!this.#ended) return false;
    return this.#window.length > 0 ? this.#refuse(incomplete) : this.#stop();
  }

  #readHead(): boolean {
    const window = this.#window;
    const end = this.#finder.find(window, this.#limits.maxHeadBytes);
    if (end === MORE) return this.#ended && this.#refuse(incomplete);
    if (end === FAULT) return this.#refuse(this.#finder.fault ?? incomplete);
    const head = readRequestHead(window.bytes.toString('latin1', window.at, end), 0, this.#block, this.#limits);
    if ('reason' in head) return this.#refuse(this.#finder.firstFault(window.bytes, window.at, end) ?? head);
    window.at += this.#block.end;
    this.#finder.reset();
    this.#body.start(head.framing);
    this.#phase = 'body';
    this.#handlers.onHead(head);
    return true;
  }

  #readBody(): boolean {
    const read = this.#body.read(this.#window);
    if (read === 'done') {
      this.#phase = 'start';
      this.#skippedLine = false;
      this.#handlers.onComplete();
      return true;
    }
    if (read === 'more') return this.#ended && this.#refuse(incomplete);
    if (!(read instanceof Uint8Array)) return this.#refuse(read);
    this.#handlers.onBody(read);
    return true;
  }

  #refuse(fault: Fault): false {
    this.#stop();
    this.#handlers.onRefusal(refuseRequest(fault));
    return false;
  }

  #stop(): false {
    this.#phase = 'stopped';
    this.#window.clear();
    return false;
  }
}

const emptyLines: Fault = { kind: 'start-line', reason: 'more than one empty line before a request' };
const incomplete: Fault = { kind: 'incomplete', reason: 'the connection ended within a request' };
