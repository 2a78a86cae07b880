/** Weights are hundredths of a percent. */
const whole = 10_000;
/** Next to `whole` over the golden ratio, and coprime to `whole`: steps of it visit each place once before any twice, and spread evenly on the way. */
const stride = 6_181;

/**
 * Chooses among weights that come to 10,000 so that of any 10,000 choices in a row each gets its weight exactly, and of fewer very nearly: a canary of 1 % gets
 * every hundredth request or so, not four at once. No state per split, no chance but where it begins, so that many proxies do not all begin with the same.
 */
export class SplitSequence {
  readonly #ends: readonly number[];
  #place: number;

  /** @param chance 0 ≤ chance < 1 */
  constructor(weights: readonly number[], chance: number) {
    let end = 0;
    this.#ends = weights.map((weight) => {
      end += weight;
      return end;
    });
    this.#place = Math.floor(chance * whole);
  }

  /** Index of the weight whose turn it is. */
  next(): number {
    this.#place = (this.#place + stride) % whole;
    let low = 0;
    for (let high = this.#ends.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] as number) > this.#place) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/**
 * Says of which requests a share is made, as SplitSequence does: of any 10,000 in a row as many as the share's hundredths of a percent say, to the request. What a
 * share has beyond hundredths has one place of the 10,000, which is taken every so often: exact in the long run.
 */
export class ShareSequence {
  readonly #places: number;
  readonly #part: number;
  #place: number;
  #owed = 0;

  /** @param share 0..1 @param chance where it begins, 0 ≤ chance < 1 */
  constructor(share: number, chance: number) {
    const places = share * whole;
    // What binary fractions have too little of hundredths, or too much, is no part.
    const nearest = Math.round(places);
    this.#places = Math.abs(places - nearest) < 1e-6 ? nearest : Math.floor(places);
    this.#part = Math.max(0, places - this.#places);
    this.#place = Math.floor(chance * whole);
  }

  /** Whether the next request is one of them. */
  next(): boolean {
    this.#place = (this.#place + stride) % whole;
    if (this.#place !== this.#places) return this.#place < this.#places;
    this.#owed += this.#part;
    if (this.#owed < 1) return false;
    this.#owed -= 1;
    return true;
  }
}
