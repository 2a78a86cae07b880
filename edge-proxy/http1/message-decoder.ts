import { BodyReader } from './body-reader.ts';
import { LF } from './byte-classes.ts';
import type { Fault } from './fault.ts';
import { FAULT, HeadFinder, MORE } from './head-finder.ts';
import { HeaderBlock } from './header-block.ts';
import { InputWindow } from './input-window.ts';
import type { Http1Limits } from './limits.ts';

/** A head that is larger, bytes, is not kept for its repetition: each idle connection would hold it. */
export const longestRepeated = 4_096;

/**
 * What decoding requests and decoding answers have in common: the bytes that wait, pausing, and the loop that takes one step after the other. The loop does
 * not enter itself: a handler that calls `resume` or `execute` has it go on when that handler returns.
 */
export abstract class MessageDecoder<Head> {
  protected readonly window = new InputWindow();
  protected readonly block = new HeaderBlock();
  protected readonly body: BodyReader;
  protected readonly limits: Http1Limits;
  /** The connection has ended: no byte comes any more. */
  protected ended = false;
  readonly #finder = new HeadFinder();
  /** The head that was read last, and its text; of a long one neither. */
  #head: Head | undefined;
  #text = '';
  readonly #incomplete: Fault;
  #stopped = false;
  #paused = false;
  #running = false;

  /** @param incomplete what an end within a message is */
  protected constructor(limits: Http1Limits, incomplete: Fault) {
    this.limits = limits;
    this.body = new BodyReader(limits);
    this.#incomplete = incomplete;
  }

  /** Takes bytes as they came. While paused they are held: stop reading the socket when `heldBytes` grows. */
  execute(chunk: Buffer): void {
    if (this.#stopped || this.ended) return;
    this.window.append(chunk);
    this.run();
  }

  /** The connection's end: what is not whole is refused, but for an answer's body that reaches until then. */
  end(): void {
    this.ended = true;
    this.run();
  }

  /** No handler is called any more until `resume`. */
  pause(): void {
    this.#paused = true;
  }

  /** Goes on, at once with what is held. Inside a handler: when that returns. */
  resume(): void {
    this.#paused = false;
    this.run();
  }

  /** The connection speaks something else from here on. Hands out what has come of that; nothing is decoded any more. */
  takeRest(): Buffer {
    const rest = this.window.take(this.window.length);
    this.stop();
    return rest;
  }

  /** Bytes taken and not digested. */
  get heldBytes(): number {
    return this.window.length;
  }

  /** Nothing more will come of it: refused, or ended and digested. */
  get spent(): boolean {
    return this.#stopped;
  }

  protected run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.#paused && !this.#stopped && this.step());
    } finally {
      this.#running = false;
      if (this.window.length === 0) this.window.clear(); // an idle connection holds no chunk
    }
  }

  /** @returns whether to go on */
  protected abstract step(): boolean;

  protected abstract onFault(fault: Fault): void;

  /**
   * Looks for the end of a head.
   *
   * @returns its end in the window; undefined when that has not come, or never will: then the fault is told
   */
  protected findHead(): number | undefined {
    const end = this.#finder.find(this.window, this.limits.maxHeadBytes);
    if (end === FAULT) this.refuse(this.#finder.fault ?? this.#incomplete);
    else if (end !== MORE) return end;
    else if (this.ended) this.refuse(this.#incomplete);
    return undefined;
  }

  /**
   * Digests a head that is, byte for byte, the one before it on this connection: most clients ask, and most applications answer, in the same words again. What was read
   * of it then holds now.
   *
   * @returns that head, the same object; undefined: another has come, or not all of it
   */
  protected takeRepeated(): Head | undefined {
    const { bytes, at, end } = this.window;
    const headEnd = at + this.#text.length;
    if (this.#head === undefined || headEnd > end || bytes[headEnd - 1] !== LF || bytes[headEnd - 3] !== LF)
      return undefined;
    if (bytes.toString('latin1', at, headEnd) !== this.#text) return undefined;
    this.window.at = headEnd;
    this.#finder.reset();
    return this.#head;
  }

  /** A head was read out of that text. */
  protected headDone(head: Head, text: string): void {
    const { end } = this.block;
    this.window.at += end;
    this.#finder.reset();
    const kept = end <= longestRepeated;
    this.#head = kept ? head : undefined;
    this.#text = kept ? (text.length === end ? text : text.slice(0, end)) : '';
  }

  /** @param fault what the reader of the head objects to; a fault in an earlier byte is named instead */
  protected refuseHead(fault: Fault, end: number): false {
    return this.refuse(this.#finder.firstFault(this.window.bytes, this.window.at, end) ?? fault);
  }

  protected refuseIncomplete(): false {
    return this.refuse(this.#incomplete);
  }

  protected refuse(fault: Fault): false {
    this.stop();
    this.onFault(fault);
    return false;
  }

  protected stop(): false {
    this.#stopped = true;
    this.window.clear();
    return false;
  }
}
