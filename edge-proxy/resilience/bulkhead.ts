import { MeshError } from '#policies/errors/mesh-error.ts';

/** Counts what is in flight to one destination, held to the end of the stream, and refuses above a limit. Waits for nothing. */
export class Bulkhead {
  #inFlight = 0;

  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * @param max calls in flight at once, by whoever asks (ResiliencePolicy.maxConcurrent); what is in flight above it goes on
   * @returns true: entered, and `leave` must be called once; false: full
   */
  enter(max: number): boolean {
    if (this.#inFlight >= max) return false;
    this.#inFlight += 1;
    return true;
  }

  /** @throws MeshError SLV-1007 when nobody is in: a fault of the caller's that would let more in than allowed */
  leave(): void {
    if (this.#inFlight === 0) throw new MeshError('SLV-1007', 'A bulkhead was left more often than entered.');
    this.#inFlight -= 1;
  }
}
