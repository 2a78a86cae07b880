import type { FrameWriter } from './frame-writer.ts';

/**
 * RST_STREAM frames that a client may send: at once, and then a second. Below what a server of ours takes (defaultTunnelLimits), so that no cancels of one caller have the
 * tunnel cut that others share (CVE-2023-44487).
 */
const burst = 16_000;
const perSecond = 4_000;

/** What a client has to say of streams that it gave up. Beyond the allowance it waits: nobody reads such a stream meanwhile, and it counts as open. */
export class OwedResets {
  readonly #writer: FrameWriter;
  readonly #now: () => number;
  #left = burst;
  #filledAtMs: number;
  /** Oldest first. */
  readonly #owed: { readonly streamId: number; readonly code: number }[] = [];

  /** @param now monotonic, ms */
  constructor(writer: FrameWriter, now: () => number) {
    this.#writer = writer;
    this.#now = now;
    this.#filledAtMs = now();
  }

  /** Streams whose end the peer does not know. */
  get size(): number {
    return this.#owed.length;
  }

  send(streamId: number, code: number): void {
    if (this.#owed.length === 0 && this.#left < 1) this.#refill();
    if (this.#owed.length > 0 || this.#left < 1) {
      this.#owed.push({ streamId, code });
      return;
    }
    this.#left -= 1;
    this.#writer.rstStream(streamId, code);
  }

  /** Sends what may be sent by now; to be called every now and then. */
  pay(): void {
    if (this.#owed.length === 0) return;
    this.#refill();
    const paid = this.#owed.splice(0, Math.floor(this.#left));
    this.#left -= paid.length;
    for (const { streamId, code } of paid) this.#writer.rstStream(streamId, code);
  }

  #refill(): void {
    const nowMs = this.#now();
    this.#left = Math.min(burst, this.#left + ((nowMs - this.#filledAtMs) / 1_000) * perSecond);
    this.#filledAtMs = nowMs;
  }
}
