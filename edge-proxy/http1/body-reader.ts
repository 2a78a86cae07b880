import { ChunkedBody } from './chunked-body.ts';
import type { Fault } from './fault.ts';
import type { InputWindow } from './input-window.ts';
import type { Http1Limits } from './limits.ts';
import type { Framing } from './message.ts';

/** Takes the body of one message out of a window, by its framing. One object per decoder, started anew for each body. */
export class BodyReader {
  #kind: Framing['kind'] = 'none';
  #left = 0;
  readonly #chunked: ChunkedBody;

  constructor(limits: Http1Limits) {
    this.#chunked = new ChunkedBody(limits);
  }

  start(framing: Framing): void {
    this.#kind = framing.kind;
    if (framing.kind === 'length') this.#left = framing.bytes;
    else if (framing.kind === 'chunked') this.#chunked.reset();
  }

  /** @returns a piece of the body (a view), `done` at its end, `more` when the window is empty, or what is wrong */
  read(window: InputWindow): Buffer | 'done' | 'more' | Fault {
    switch (this.#kind) {
      case 'none':
        return 'done';
      case 'chunked':
        return this.#chunked.read(window);
      case 'until-close':
        return window.length === 0 ? 'more' : window.take(window.length);
      case 'length': {
        if (this.#left === 0) return 'done';
        if (window.length === 0) return 'more';
        const piece = window.take(this.#left);
        this.#left -= piece.length;
        return piece;
      }
    }
  }

  /** True when the end of the connection is the end of this body. */
  get endsWithConnection(): boolean {
    return this.#kind === 'until-close';
  }
}
