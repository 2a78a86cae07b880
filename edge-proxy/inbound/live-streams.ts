import type { Verdict } from '#policies/intention-decision.ts';

/** Something that was let in and is still open: a TCP connection, or a request under way. */
export interface LiveStream {
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
  readonly #streams = new Set<LiveStream>();

  add(stream: LiveStream): void {
    this.#streams.add(stream);
  }

  delete(stream: LiveStream): void {
    this.#streams.delete(stream);
  }

  get size(): number {
    return this.#streams.size;
  }

  /** @returns how many were cut */
  judgeAgain(): number {
    let cut = 0;
    for (const stream of [...this.#streams]) {
      const verdict = stream.judge();
      if (verdict.allowed) continue;
      this.#streams.delete(stream);
      stream.cut(verdict);
      cut += 1;
    }
    return cut;
  }
}
