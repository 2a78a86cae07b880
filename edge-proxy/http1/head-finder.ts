import { CR, DEL, HTAB, LF, SP } from './byte-classes.ts';
import type { Fault } from './fault.ts';
import type { InputWindow } from './input-window.ts';

const emptyLine = Buffer.from('\r\n\r\n');

/** No end yet: more bytes are needed. */
export const MORE = -1;
/** The head is refused: see `fault`. */
export const FAULT = -2;

/**
 * Finds where a head ends. A head that came in one chunk costs one native search. One that comes in pieces is screened byte by byte as it
 * comes, so that bare line feeds and binary are refused at once and not at the timeout. Whatever the pieces, the outcome is the same:
 * `firstFault` gives a whole head that was refused for anything else the same screening.
 */
export class HeadFinder {
  fault: Fault | undefined;
  /** Bytes of the window already screened. */
  #screened = 0;

  /** @returns an index of `window.bytes` up to which a whole head is certain to be there, MORE or FAULT */
  find(window: InputWindow, maxBytes: number): number {
    const { bytes, at } = window;
    if (this.#screened === 0 && bytes.length === window.end) {
      // With an empty line at the very end there surely is one; should another come first, the header reader stops there.
      if (bytes.length - at <= maxBytes && endsWithEmptyLine(bytes, at)) return bytes.length;
      const found = bytes.indexOf(emptyLine, at);
      if (found >= 0 && found + 4 - at <= maxBytes) return found + 4;
    }
    return this.#screen(window, at + maxBytes);
  }

  /** What screening finds in a whole head between `start` and `end`, if anything. */
  firstFault(bytes: Buffer, start: number, end: number): Fault | undefined {
    this.reset();
    return this.#walk(bytes, start, start, end) === FAULT ? this.fault : undefined;
  }

  /** Before the next head. */
  reset(): void {
    this.fault = undefined;
    this.#screened = 0;
  }

  #screen(window: InputWindow, limit: number): number {
    const { bytes, at } = window;
    const end = Math.min(window.end, limit);
    const found = this.#walk(bytes, at, at + this.#screened, end);
    if (found !== MORE || end < limit) return found;
    this.fault = tooLarge;
    return FAULT;
  }

  #walk(bytes: Buffer, start: number, from: number, end: number): number {
    for (let at = from; at < end; at++) {
      const byte = bytes[at] as number;
      if ((byte >= SP && byte !== DEL) || byte === HTAB) continue;
      if (byte !== CR) return this.#refuse(byte === LF ? bareLineFeed : control);
      if (at + 1 === end) {
        this.#screened = at - start;
        return MORE;
      }
      if (bytes[at + 1] !== LF) return this.#refuse(bareCarriageReturn);
      if (at - start >= 2 && bytes[at - 1] === LF && bytes[at - 2] === CR) return at + 2;
      at++;
    }
    this.#screened = end - start;
    return MORE;
  }

  #refuse(fault: Fault): number {
    this.fault = fault;
    return FAULT;
  }
}

function endsWithEmptyLine(bytes: Buffer, start: number): boolean {
  const end = bytes.length;
  return (
    end - start >= 4 && bytes[end - 1] === LF && bytes[end - 2] === CR && bytes[end - 3] === LF && bytes[end - 4] === CR
  );
}

const bareLineFeed: Fault = { kind: 'header', reason: 'a line feed without a carriage return before it' };
const bareCarriageReturn: Fault = { kind: 'header', reason: 'a carriage return without a line feed' };
const control: Fault = { kind: 'header', reason: 'a control character in the head' };
const tooLarge: Fault = { kind: 'head-size', reason: 'the head is too large' };
