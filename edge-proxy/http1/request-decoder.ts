import { CR, LF } from './byte-classes.ts';
import { type Fault, type Refusal, refuseRequest } from './fault.ts';
import { type Http1Limits, requestLimits } from './limits.ts';
import type { RequestHead } from './message.ts';
import { MessageDecoder } from './message-decoder.ts';
import { readRequestHead } from './request-head.ts';

/** What a decoder of requests tells. Calls come synchronously from `execute`, `resume` and `end`. */
export interface RequestHandlers {
  onHead(head: RequestHead): void;
  /** Decoded bytes of the body: a view of the caller's chunk, good as long as that is. Never empty. */
  onBody(chunk: Buffer): void;
  /** The request is whole. Call `pause` here, so that a pipelined one waits for the answer. */
  onComplete(): void;
  /** Nothing comes after it: answer if nothing was answered, and close. May come behind onHead, in the midst of a body. */
  onRefusal(refusal: Refusal): void;
}

type Phase = 'start' | 'head' | 'body';

/** Decodes the requests of one connection, strictly, whatever the pieces in which the bytes come. Never throws. */
export class RequestDecoder extends MessageDecoder<RequestHead> {
  #phase: Phase = 'start';
  /** The one empty line before a request that is tolerated (RFC 9112 2.2) was there. */
  #skippedLine = false;
  readonly #handlers: RequestHandlers;

  constructor(handlers: RequestHandlers, limits: Partial<Http1Limits> = {}) {
    super({ ...requestLimits, ...limits }, incomplete);
    this.#handlers = handlers;
  }

  /** Between requests: nothing of a next one has come. */
  get idle(): boolean {
    return this.#phase === 'start' && !this.spent && this.window.length === 0;
  }

  /** A part of a head has come. */
  get withinHead(): boolean {
    return this.#phase === 'head' && !this.spent;
  }

  protected override step(): boolean {
    switch (this.#phase) {
      case 'start':
        return this.#skipLine() || this.#endBetween();
      case 'head':
        return this.#readHead();
      case 'body':
        return this.#readBody();
    }
  }

  protected override onFault(fault: Fault): void {
    this.#handlers.onRefusal(refuseRequest(fault));
  }

  #skipLine(): boolean {
    const { bytes, at, end } = this.window;
    if (at === end) return false;
    if (bytes[at] === CR) {
      if (at + 1 === end) return false;
      if (bytes[at + 1] === LF) {
        if (this.#skippedLine) return this.refuse(emptyLines);
        this.#skippedLine = true;
        this.window.at += 2;
        return true;
      }
    }
    this.#phase = 'head';
    return true;
  }

  #endBetween(): boolean {
    if (!this.ended || this.spent) return false;
    return this.window.length > 0 ? this.refuseIncomplete() : this.stop();
  }

  #readHead(): boolean {
    const repeated = this.takeRepeated();
    if (repeated !== undefined) return this.#begin(repeated);
    const end = this.findHead();
    if (end === undefined) return false;
    const text = this.window.bytes.toString('latin1', this.window.at, end);
    const head = readRequestHead(text, 0, this.block, this.limits);
    if ('reason' in head) return this.refuseHead(head, end);
    this.headDone(head, text);
    return this.#begin(head);
  }

  #begin(head: RequestHead): boolean {
    this.body.start(head.framing);
    this.#phase = 'body';
    this.#handlers.onHead(head);
    return true;
  }

  #readBody(): boolean {
    const read = this.body.read(this.window);
    if (read === 'done') {
      this.#phase = 'start';
      this.#skippedLine = false;
      this.#handlers.onComplete();
      return true;
    }
    if (read === 'more') return this.ended && this.refuseIncomplete();
    if (!(read instanceof Uint8Array)) return this.refuse(read);
    this.#handlers.onBody(read);
    return true;
  }
}

const emptyLines: Fault = { kind: 'start-line', reason: 'more than one empty line before a request' };
const incomplete: Fault = { kind: 'incomplete', reason: 'the connection ended within a request' };
