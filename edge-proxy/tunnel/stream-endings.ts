import type { ConnectionStream } from './connection-stream.ts';
import { type FairTurns, sliceMs, type Unfinished } from './fair-turns.ts';

/** Streams that are ended before the clock is looked at. */
const streamsAtOnce = 4;

/** Where they stand in line. */
export interface EndingsLine {
  /** Of the connection. */
  readonly source: unknown;
  readonly turns: FairTurns;
  /** Monotonic, ms. */
  now(): number;
}

/** The streams of a connection that is over, ended a slice a turn: what hangs on a thousand of them takes as long as everybody else's next fifty requests. */
export class StreamEndings implements Unfinished {
  readonly source: unknown;
  readonly #streams: readonly ConnectionStream[];
  readonly #code: number;
  readonly #line: EndingsLine;
  #next = 0;

  /** @param code that the streams' owners are told */
  constructor(streams: readonly ConnectionStream[], code: number, line: EndingsLine) {
    this.source = line.source;
    this.#streams = streams;
    this.#code = code;
    this.#line = line;
  }

  goOn(): void {
    const { turns, now } = this.#line;
    const begunMs = now();
    do {
      const end = this.#next + streamsAtOnce;
      while (this.#next < end) this.#streams[this.#next++]?.broken(this.#code, false);
      if (end >= this.#streams.length) return;
    } while (now() - begunMs < sliceMs);
    turns.enqueue(this);
  }
}
