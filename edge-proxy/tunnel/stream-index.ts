const initialCapacity = 64;

/**
 * Streams by their identifier: open addressing in two flat arrays. A Map grows and shrinks with each batch of requests, and each table that it leaves behind keeps
 * what was in it, and the next table, alive into the old generation.
 */
export class StreamIndex<T> {
  size = 0;
  #mask = initialCapacity - 1;
  /** 0: nobody; no stream has that identifier. */
  #ids = new Uint32Array(initialCapacity);
  #streams: (T | undefined)[] = new Array<T | undefined>(initialCapacity).fill(undefined);

  get(id: number): T | undefined {
    for (let at = this.#home(id); ; at = (at + 1) & this.#mask) {
      const found = this.#ids[at];
      if (found === id) return this.#streams[at];
      if (found === 0) return undefined;
    }
  }

  /** The identifier must not be there. */
  add(id: number, stream: T): void {
    if (this.size * 2 >= this.#ids.length) this.#grow();
    this.#put(id, stream);
    this.size += 1;
  }

  delete(id: number): void {
    let at = this.#home(id);
    while (this.#ids[at] !== id) {
      if (this.#ids[at] === 0) return;
      at = (at + 1) & this.#mask;
    }
    this.size -= 1;
    // Those behind it that were put there only because their places were taken move up, so that nobody is searched for past a hole.
    for (let next = (at + 1) & this.#mask; this.#ids[next] !== 0; next = (next + 1) & this.#mask) {
      const home = this.#home(this.#ids[next] as number);
      if (((next - home) & this.#mask) < ((next - at) & this.#mask)) continue;
      this.#ids[at] = this.#ids[next] as number;
      this.#streams[at] = this.#streams[next];
      at = next;
    }
    this.#ids[at] = 0;
    this.#streams[at] = undefined;
  }

  /** Those that are there now; the index may change meanwhile. */
  all(): T[] {
    return this.#streams.filter((stream) => stream !== undefined);
  }

  /** Takes all out, at once: one by one, each would have its neighbours moved up. */
  takeAll(): T[] {
    const all = this.all();
    this.#ids.fill(0);
    this.#streams.fill(undefined);
    this.size = 0;
    return all;
  }

  /** Identifiers of one side go up by two: neighbours in time are neighbours here. */
  #home(id: number): number {
    return (id >>> 1) & this.#mask;
  }

  #put(id: number, stream: T): void {
    let at = this.#home(id);
    while (this.#ids[at] !== 0) at = (at + 1) & this.#mask;
    this.#ids[at] = id;
    this.#streams[at] = stream;
  }

  #grow(): void {
    const ids = this.#ids;
    const streams = this.#streams;
    this.#mask = ids.length * 2 - 1;
    this.#ids = new Uint32Array(ids.length * 2);
    this.#streams = new Array<T | undefined>(ids.length * 2).fill(undefined);
    ids.forEach((id, at) => {
      const stream = streams[at];
      if (id !== 0 && stream !== undefined) this.#put(id, stream);
    });
  }
}
