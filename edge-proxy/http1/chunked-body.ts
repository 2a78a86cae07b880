import { byteClass, COLON, CR, FIELD, hexValue, LF, SEMICOLON, TOKEN } from './byte-classes.ts';
import type { Fault } from './fault.ts';
import type { InputWindow } from './input-window.ts';
import type { Http1Limits } from './limits.ts';

/** Data of chunks below this size, bytes, is told together where several have come, up to about this many. */
const joinBelow = 1_024;
const joined = 16_384;
/** Sixteen digits are 64 bits; what JavaScript can't count is refused besides. */
const maxSizeDigits = 16;

type State =
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'line'
  | 'name'
  | 'value'
  | 'value-lf'
  | 'end-lf';

/**
 * Decodes a chunked body (RFC 9112 7.1), a state a byte outside of the data. Extensions and trailers are checked, bounded and dropped:
 * nothing behind us sees them. No `0x`, sign, blank or bare line feed.
 */
export class ChunkedBody {
  #state: State = 'size';
  #digits = 0;
  /** Bytes left of this chunk; while its size is read, the size so far. */
  #left = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;
  /** What was found behind data that had to be told first. */
  #next: 'done' | Fault | undefined;
  readonly #limits: Http1Limits;

  constructor(limits: Http1Limits) {
    this.#limits = limits;
  }

  /** Before the next body. */
  reset(): void {
    this.#state = 'size';
    this.#digits = 0;
    this.#left = 0;
    this.#extensionBytes = 0;
    this.#trailerBytes = 0;
    this.#next = undefined;
  }

  /**
   * Digests from the window up to and with a piece of data, or to the end of the body or of the window. A body that comes an octet at a time, as many chunks, is told
   * in a few pieces: each may be a write to whom it goes to.
   *
   * @returns a piece of data, `done` at the end of the body, `more` when the window is empty, or what is wrong
   */
  read(window: InputWindow): Buffer | 'done' | 'more' | Fault {
    const next = this.#next ?? this.#readChunk(window);
    this.#next = undefined;
    return next instanceof Uint8Array && next.length < joinBelow ? this.#withFurther(next, window) : next;
  }

  #withFurther(first: Buffer, window: InputWindow): Buffer {
    const pieces = [first];
    let size = first.length;
    while (size < joined) {
      const next = this.#readChunk(window);
      if (next === 'more') break;
      if (!(next instanceof Uint8Array)) {
        this.#next = next;
        break;
      }
      pieces.push(next);
      size += next.length;
    }
    return pieces.length === 1 ? first : Buffer.concat(pieces, size);
  }

  #readChunk(window: InputWindow): Buffer | 'done' | 'more' | Fault {
    while (window.at < window.end) {
      if (this.#state === 'data') {
        const piece = window.take(this.#left);
        this.#left -= piece.length;
        if (this.#left === 0) this.#state = 'data-cr';
        return piece;
      }
      const last = this.#state === 'end-lf';
      const fault = this.#step(window.bytes[window.at++] as number);
      if (fault !== undefined) return fault;
      if (last) return 'done';
    }
    return 'more';
  }

  #step(byte: number): Fault | undefined {
    switch (this.#state) {
      case 'size':
        return this.#size(byte);
      case 'extension':
        if (byte === CR) return this.#to('size-lf');
        if ((byteClass(byte) & FIELD) === 0) return badExtension;
        return ++this.#extensionBytes > this.#limits.maxChunkExtensionBytes ? longExtension : undefined;
      case 'size-lf':
        if (byte !== LF) return badLineEnd;
        return this.#to(this.#left === 0 ? 'line' : 'data');
      case 'data-cr':
        return byte === CR ? this.#to('data-lf') : badDataEnd;
      case 'data-lf':
        this.#digits = 0;
        return byte === LF ? this.#to('size') : badDataEnd;
      case 'end-lf':
        return byte === LF ? undefined : badLineEnd;
      case 'data':
        return undefined; // read() takes data in pieces and never comes here
      default:
        return this.#trailer(byte);
    }
  }

  #size(byte: number): Fault | undefined {
    const digit = hexValue(byte);
    if (digit >= 0) {
      if (++this.#digits > maxSizeDigits) return badSize;
      this.#left = this.#left * 16 + digit;
      return this.#left > Number.MAX_SAFE_INTEGER ? badSize : undefined;
    }
    if (this.#digits === 0) return badSize;
    if (byte === CR) return this.#to('size-lf');
    return byte === SEMICOLON ? this.#to('extension') : badSize;
  }

  #trailer(byte: number): Fault | undefined {
    if (this.#state === 'line' && byte === CR) return this.#to('end-lf');
    if (++this.#trailerBytes > this.#limits.maxTrailerBytes) return longTrailers;
    switch (this.#state) {
      case 'line':
        return (byteClass(byte) & TOKEN) !== 0 ? this.#to('name') : badTrailer;
      case 'name':
        if (byte === COLON) return this.#to('value');
        return (byteClass(byte) & TOKEN) !== 0 ? undefined : badTrailer;
      case 'value':
        if (byte === CR) return this.#to('value-lf');
        return (byteClass(byte) & FIELD) !== 0 ? undefined : badTrailer;
      default:
        return byte === LF ? this.#to('line') : badTrailer;
    }
  }

  #to(state: State): undefined {
    this.#state = state;
  }
}

const chunk = (reason: string): Fault => ({ kind: 'chunk', reason });
const badSize = chunk('a chunk size is not 1 to 16 hexadecimal digits, or too large');
const badLineEnd = chunk('a chunk line does not end with CRLF');
const badDataEnd = chunk('chunk data is not followed by CRLF');
const badExtension = chunk('a control character in a chunk extension');
const longExtension = chunk('chunk extensions too long');
const badTrailer = chunk('a malformed trailer');
const longTrailers = chunk('trailers too long');
