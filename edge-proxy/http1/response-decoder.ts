import { MeshError } from '#policies/errors/mesh-error.ts';
import { type Fault, type Refusal, refuseResponse } from './fault.ts';
import { type Http1Limits, responseLimits } from './limits.ts';
import type { ResponseHead } from './message.ts';
import { MessageDecoder } from './message-decoder.ts';
import { readResponseHead } from './response-head.ts';

/** What a decoder of answers tells. Calls come synchronously from `execute`, `resume` and `end`. */
export interface ResponseHandlers {
  /** The final head (status 200 and above). */
  onHead(head: ResponseHead): void;
  /** Decoded bytes of the body: a view. Never empty. */
  onBody(chunk: Buffer): void;
  /** The answer is whole. */
  onComplete(): void;
  /** Nothing comes after it; close the connection. May come behind onHead, in the midst of a body. */
  onRefusal(refusal: Refusal): void;
  /** A 1xx other than 101. */
  onInformational(head: ResponseHead): void;
  /** 101, and what has come behind it. Nothing is decoded any more. */
  onUpgraded(head: ResponseHead, rest: Buffer): void;
}

type Phase = 'idle' | 'head' | 'body';

/** Decodes the answers of one connection, one for each `startResponse`. Bytes that nobody asked for are refused (response-queue poisoning). */
export class ResponseDecoder extends MessageDecoder<ResponseHead> {
  #phase: Phase = 'idle';
  #method = '';
  /** Of the request that the last head that was read answered. */
  #methodBefore = '';
  #upgradeAsked = false;
  #informational = 0;
  #untouched = true;
  readonly #handlers: ResponseHandlers;

  constructor(handlers: ResponseHandlers, limits: Partial<Http1Limits> = {}) {
    super({ ...responseLimits, ...limits }, incomplete);
    this.#handlers = handlers;
  }

  /**
   * Before the bytes of a request go out. `upgradeAsked`: a 101 may come.
   *
   * @throws MeshError SLV-1007 when the last answer is not whole or the connection is spent: a fault of the caller's
   */
  startResponse(requestMethod: string, upgradeAsked = false): void {
    if (!this.idle) throw new MeshError('SLV-1007', 'An answer was awaited on a connection that is not free.');
    this.#phase = 'head';
    this.#method = requestMethod;
    this.#upgradeAsked = upgradeAsked;
    this.#informational = 0;
    this.#untouched = true;
  }

  override execute(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#untouched = false;
    super.execute(chunk);
  }

  /** Free for the next request. */
  get idle(): boolean {
    return this.#phase === 'idle' && !this.ended && !this.spent;
  }

  /** No byte of the awaited answer has come: an end now tells of a stale connection. */
  get untouched(): boolean {
    return this.#untouched;
  }

  protected override step(): boolean {
    switch (this.#phase) {
      case 'idle':
        return this.window.length > 0 ? this.refuse(unsolicited) : this.ended && this.stop();
      case 'head':
        return this.#readHead();
      case 'body':
        return this.#readBody();
    }
  }

  protected override onFault(fault: Fault): void {
    this.#handlers.onRefusal(refuseResponse(fault));
  }

  #readHead(): boolean {
    // Whether a body follows is the method's to say, too.
    const repeated = this.#method === this.#methodBefore ? this.takeRepeated() : undefined;
    if (repeated !== undefined) {
      repeated.onward ??= {};
      return this.#begin(repeated);
    }
    const end = this.findHead();
    if (end === undefined) return false;
    const text = this.window.bytes.toString('latin1', this.window.at, end);
    const head = readResponseHead(text, 0, this.block, this.limits, this.#method);
    if ('kind' in head) return this.refuseHead(head, end);
    this.headDone(head, text);
    this.#methodBefore = this.#method;
    return this.#begin(head);
  }

  #begin(head: ResponseHead): boolean {
    return head.status < 200 ? this.#interim(head) : this.#final(head);
  }

  #interim(head: ResponseHead): boolean {
    if (head.status === 101) {
      if (!this.#upgradeAsked || head.upgrade === undefined) return this.refuse(unaskedUpgrade);
      this.#handlers.onUpgraded(head, this.takeRest());
      return false;
    }
    if (++this.#informational > this.limits.maxInformational) return this.refuse(manyInterim);
    this.#handlers.onInformational(head);
    return true;
  }

  #final(head: ResponseHead): boolean {
    this.body.start(head.framing);
    this.#phase = 'body';
    this.#handlers.onHead(head);
    return true;
  }

  #readBody(): boolean {
    const read = this.body.read(this.window);
    if (read === 'done') return this.#complete();
    if (read === 'more') {
      if (!this.ended) return false;
      return this.body.endsWithConnection ? this.#complete() : this.refuseIncomplete();
    }
    if (!(read instanceof Uint8Array)) return this.refuse(read);
    this.#handlers.onBody(read);
    return true;
  }

  #complete(): boolean {
    this.#phase = 'idle';
    this.#handlers.onComplete();
    return true;
  }
}

const incomplete: Fault = { kind: 'incomplete', reason: 'the connection ended within an answer' };
const unsolicited: Fault = { kind: 'unsolicited', reason: 'bytes that no request asked for' };
const unaskedUpgrade: Fault = { kind: 'upgrade', reason: 'a 101 that was not asked for or names no protocol' };
const manyInterim: Fault = { kind: 'header', reason: 'too many interim answers' };
