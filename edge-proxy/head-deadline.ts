import { type Refusal, refusalOf } from './http1/fault.ts';
import type { IdleGuard, IdleSweep } from './idle-sweep.ts';

/** As Envoy's guide for the edge of a network sets `request_headers_timeout`. */
const headTimeoutMs = 10_000;
const late = refusalOf('SLV-4213', 'its head did not come to an end within ten seconds');

/** How long the head of a request of HTTP/1.1 may take from its first byte on, however it trickles. Heads that come whole cost nothing. */
export class HeadDeadline {
  readonly #sweep: IdleSweep;
  readonly #onLate: (refusal: Refusal) => void;
  #guard: IdleGuard | undefined;

  constructor(sweep: IdleSweep, onLate: (refusal: Refusal) => void) {
    this.#sweep = sweep;
    this.#onLate = onLate;
  }

  /** @param begun a part of a head is here, and the rest is not */
  watch(begun: boolean): void {
    if (begun === (this.#guard !== undefined)) return;
    if (this.#guard !== undefined) this.#sweep.release(this.#guard);
    this.#guard = begun ? this.#sweep.guard(headTimeoutMs, () => this.#onLate(late)) : undefined;
  }
}
