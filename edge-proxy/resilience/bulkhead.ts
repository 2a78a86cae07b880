import { MeshError } from '#policies/errors/mesh-error.ts';

/** Counts what is in flight to one upstream, held to the end of the stream, and refuses above a limit. Waits for nothing. */
export class Bulkhead {
  #max: number;
  #inFlight = 0;

  /** @param max calls in flight at once (ResiliencePolicy.maxConcurrent) */
  constructor(max: number) {
    this.#max = max;
  }

  /** A new limit. What is in flight above it goes on. */
  update(max: number): void {
    this.#max = max;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** @returns true: entered, and `leave` must be called once; false: full */
  enter(): boolean {
    if (this.#inFlight >= this.#max) return false;
    this.#inFlight += 1;
    return true;
  }

  /** @throws MeshError SLV-1007 when nobody is in: a fault of the caller's that would let more in than allowed */
  leave(): void {
    if (this.#inFlight === 0) throw new MeshError('SLV-1007', 'A bulkhead was left more often than entered.');
    this.#inFlight -= 1;
  }
}
