import type { Verdict } from '#policies/intention-decision.ts';
import { type Linked, LinkedSet } from '../linked-set.ts';

/** Something that was let in and is still open: a TCP connection, or a request under way. */
export interface LiveStream extends Linked<LiveStream> {
  /** What the intentions of now say of it. */
  judge(): Verdict;
  /** Ends it at once. */
  cut(verdict: Verdict): void;
}

/**
 * All that an inbound listener let in. Permission outlives the handshake only as long as the intentions say so: after each change everything open is
 * judged again and what is denied now is cut (Consul leaves it open: consul#6454).
 */
export class LiveStreams {
  readonly #streams = new LinkedSet<LiveStream>();
  /** When what some were let in with ends, ms since the epoch. */
  readonly #ends = new Map<LiveStream, number>();

  /** @param untilMs what it was let in with holds until then; undefined: it has no end */
  add(stream: LiveStream, untilMs?: number): void {
    this.#streams.add(stream);
    if (untilMs !== undefined) this.#ends.set(stream, untilMs);
  }

  delete(stream: LiveStream): void {
    this.#streams.delete(stream);
    if (this.#ends.size > 0) this.#ends.delete(stream);
  }

  get size(): number {
    return this.#streams.size;
  }

  /** @returns how many were cut */
  judgeAgain(): number {
    return this.#judge(this.#streams.all());
  }

  /** To be called every now and then. @returns how many were cut */
  judgeEnded(nowMs: number): number {
    if (this.#ends.size === 0) return 0;
    const ended = [...this.#ends].filter(([, untilMs]) => nowMs >= untilMs).map(([stream]) => stream);
    for (const stream of ended) this.#ends.delete(stream);
    return this.#judge(ended);
  }

  #judge(streams: readonly LiveStream[]): number {
    let cut = 0;
    for (const stream of streams) {
      const verdict = stream.judge();
      if (verdict.allowed) continue;
      this.delete(stream);
      stream.cut(verdict);
      cut += 1;
    }
    return cut;
  }
}
