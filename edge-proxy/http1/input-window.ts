/**
 * The bytes that came in and are not digested yet, as one contiguous piece. In the usual case it is the caller's chunk itself; only
 * what is left of one chunk when the next comes is copied, into a buffer that doubles. Bytes once handed out are never overwritten.
 */
export class InputWindow {
  bytes: Buffer = nothing;
  /** First undigested byte. */
  at = 0;
  /** Behind the last byte. `bytes` may be longer. */
  end = 0;
  #owned = false;

  /** Adds a chunk, without copying when nothing is left of the last. */
  append(chunk: Buffer): void {
    const left = this.end - this.at;
    if (left === 0) {
      this.bytes = chunk;
      this.at = 0;
      this.end = chunk.length;
      this.#owned = false;
      return;
    }
    if (!this.#owned || this.bytes.length - this.end < chunk.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(1_024, 2 * (left + chunk.length)));
      this.bytes.copy(larger, 0, this.at, this.end);
      this.bytes = larger;
      this.at = 0;
      this.end = left;
      this.#owned = true;
    }
    chunk.copy(this.bytes, this.end);
    this.end += chunk.length;
  }

  /** Bytes not digested. */
  get length(): number {
    return this.end - this.at;
  }

  /** Hands out and digests up to `count` bytes, as a view. */
  take(count: number): Buffer {
    const start = this.at;
    this.at = Math.min(this.end, start + count);
    return start === 0 && this.at === this.bytes.length ? this.bytes : this.bytes.subarray(start, this.at);
  }

  /** Lets go of everything. */
  clear(): void {
    this.bytes = nothing;
    this.at = 0;
    this.end = 0;
    this.#owned = false;
  }
}

const nothing = Buffer.alloc(0);
