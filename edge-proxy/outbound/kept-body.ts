import type { ClientStream } from '../client-stream.ts';

/** Body bytes that may wait for a stream before the caller is told to pause. */
const maxWaitingBytes = 65_536;
/** Pieces below this are copied when they are kept, so that a few bytes do not hold the large buffer that they were read into. */
const copyBelow = 4_096;

/** The body of a request so far: for a replay, or while no stream is there. */
export class KeptBody {
  #bytes = 0;
  /** Most requests have no body. */
  #pieces: Buffer[] | undefined;

  keep(data: Buffer): void {
    this.#pieces ??= [];
    this.#pieces.push(data.length < copyBelow ? Buffer.from(data) : data);
    this.#bytes += data.length;
  }

  /** As much as may wait for a stream. */
  get full(): boolean {
    return this.#bytes >= maxWaitingBytes;
  }

  /** @returns undefined: it is longer than that, and no more kept */
  within(maxBytes: number): KeptBody | undefined {
    return this.#bytes > maxBytes ? undefined : this;
  }

  /** @returns false: wait for `onDrain` before more; undefined: nothing was there to be sent */
  sendTo(stream: ClientStream): boolean | undefined {
    let more: boolean | undefined;
    for (const piece of this.#pieces ?? []) more = stream.body(piece);
    return more;
  }
}
