import { type FairTurns, sliceMs, type Unfinished } from './fair-turns.ts';

/** Frames that are read before the clock is looked at. */
const framesAtOnce = 4;
/** Slices, less the useful ones, that a connection may waste before it waits for idle turns; and how many are remembered at most. */
const patience = 16;
const maxRemembered = 32;

export interface PacedInputOptions {
  readonly source: unknown;
  readonly turns: FairTurns;
  /** For whoever has wasted too many slices. */
  readonly idleTurns: FairTurns;
  /** Monotonic, ms. */
  now(): number;
  /** Reads so many frames of `chunk` from `offset` on. @returns where it stopped: at the end when there were not so many */
  read(chunk: Buffer, offset: number, frames: number): number;
  /** How many of all frames read so far helped nobody. */
  wasted(): number;
  /** What was read in one go ends here. */
  readDone(): void;
  /** Has whoever brings chunks stop for a while, or go on. Some may come nevertheless. */
  hold(held: boolean): void;
}

/**
 * What a connection has received, read a slice a turn: a peer that sends more than others leaves them their time. One that sends so much, and most of it for nothing (requests
 * that it takes back, windows of an octet), gets a small part of the thread, as long as that lasts.
 */
export class PacedInput implements Unfinished {
  readonly source: unknown;
  readonly #options: PacedInputOptions;
  /** In order; of the first, all before `#offset` has been read. */
  #waiting: Buffer[] = [];
  #offset = 0;
  /** Of the slice of `#turn`, ms. */
  #used = 0;
  #turn = -1;
  #slicesWasted = 0;
  #onRead: (() => void) | undefined;

  constructor(options: PacedInputOptions) {
    this.#options = options;
    this.source = options.source;
  }

  receive(chunk: Buffer): void {
    if (this.#waiting.length > 0) {
      this.#waiting.push(chunk);
      return;
    }
    const offset = this.#readSlice(chunk, 0);
    if (offset === chunk.length) return;
    this.#waiting.push(chunk);
    this.#offset = offset;
    this.#options.hold(true);
    this.#standInLine();
  }

  /** Nothing more will come: calls back when all that has come is read. */
  finish(onRead: () => void): void {
    if (this.#waiting.length === 0) onRead();
    else this.#onRead = onRead;
  }

  /** What waits is read by nobody. */
  discard(): void {
    this.#waiting = [];
    this.#onRead = undefined;
  }

  goOn(): void {
    for (let chunk = this.#waiting[0]; chunk !== undefined; chunk = this.#waiting[0]) {
      const offset = this.#readSlice(chunk, this.#offset);
      // What was read may have ended it all.
      if (this.#waiting.length === 0) return;
      this.#offset = offset;
      if (offset < chunk.length) {
        this.#standInLine();
        return;
      }
      this.#offset = 0;
      this.#waiting.shift();
      if (this.#waiting.length > 0) continue;
      // In that call more may come, and have to wait again.
      this.#options.hold(false);
      if (this.#waiting.length === 0) this.#onRead?.();
      return;
    }
  }

  #standInLine(): void {
    const { turns, idleTurns } = this.#options;
    (this.#slicesWasted < patience ? turns : idleTurns).enqueue(this);
  }

  #judge(sliceWasted: boolean): void {
    this.#slicesWasted = sliceWasted
      ? Math.min(maxRemembered, this.#slicesWasted + 1)
      : Math.max(0, this.#slicesWasted - 1);
  }

  /** @returns where the slice ends */
  #readSlice(chunk: Buffer, from: number): number {
    const { turns, now, read, wasted } = this.#options;
    const turn = turns.turn;
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#used = 0;
    }
    const begunMs = now() - this.#used;
    const wastedBefore = wasted();
    let frames = 0;
    let offset = from;
    while (offset < chunk.length && this.#used < sliceMs) {
      offset = read(chunk, offset, framesAtOnce);
      frames += framesAtOnce;
      this.#used = now() - begunMs;
    }
    if (this.#used >= sliceMs) this.#judge((wasted() - wastedBefore) * 2 >= frames);
    this.#options.readDone();
    return offset;
  }
}
