import { type FairTurns, sliceMs, type Unfinished } from './fair-turns.ts';

/** How much longer in an idle turn, to where the body that it stands in ends, ms: half a body costs its application a connection, a millisecond of everybody's. */
const bodyMs = 0.15;
/** Frames that are read before the clock is looked at. */
const manyFrames = 4;
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
  /** Whether what was read last was of a body, and there is more to come of it; and how many that came in crumbs have ended. */
  bodies(): { readonly within: boolean; readonly ended: number };
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
  /** What is judged together, a slice or several short ones: the time that it took, ms, its frames, and how many had been wasted before. */
  #judgedMs = 0;
  #frames = 0;
  #wastedBefore = 0;
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

  /** In an idle turn: one body of crumbs at the most, for what it causes at the application comes on top; and to the end of a body, where that is near. */
  #goesOnIdle(bodiesBefore: number): boolean {
    const { within, ended } = this.#options.bodies();
    return this.#used < sliceMs ? ended === bodiesBefore : within && this.#used < sliceMs + bodyMs;
  }

  /** @returns where the slice ends */
  #readSlice(chunk: Buffer, from: number): number {
    const { turns, now, read, wasted, bodies } = this.#options;
    const turn = turns.turn;
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#used = 0;
    }
    const idle = this.#slicesWasted >= patience;
    if (!idle || this.#judgedMs >= sliceMs) {
      this.#judgedMs = 0;
      this.#frames = 0;
      this.#wastedBefore = wasted();
    }
    const usedBefore = this.#used;
    const begunMs = now() - usedBefore;
    let offset = from;
    const bodiesBefore = idle ? bodies().ended : 0;
    const framesAtOnce = idle ? 1 : manyFrames;
    while (offset < chunk.length && (idle ? this.#goesOnIdle(bodiesBefore) : this.#used < sliceMs)) {
      offset = read(chunk, offset, framesAtOnce);
      this.#frames += framesAtOnce;
      this.#used = now() - begunMs;
    }
    this.#judgedMs = idle ? this.#judgedMs + this.#used - usedBefore : this.#used;
    if (this.#judgedMs >= sliceMs) this.#judge((wasted() - this.#wastedBefore) * 2 >= this.#frames);
    this.#options.readDone();
    return offset;
  }
}
