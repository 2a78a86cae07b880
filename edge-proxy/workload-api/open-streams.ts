import { status } from '@grpc/grpc-js';
import { RpcError } from './rpc-error.ts';

/** Ends a stream with an error. */
export type EndStream = (error: RpcError) => void;

/** The streams of one socket: bounded, and ended together. */
export class OpenStreams {
  readonly #most: number;
  readonly #open = new Set<EndStream>();
  #closed = false;

  /** @param most streams at once */
  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Counts a stream in. @returns to be called when it has ended. Throws RpcError UNAVAILABLE when there are too many: shed, to be tried again */
  admit(end: EndStream): () => void {
    if (this.#closed) throw stopping();
    if (this.#open.size >= this.#most)
      throw new RpcError(status.UNAVAILABLE, `${this.#most} streams are open on this socket, which is the limit`);
    this.#open.add(end);
    return () => this.#open.delete(end);
  }

  /** Ends all streams, and admits no more. */
  close(): void {
    this.#closed = true;
    for (const end of [...this.#open]) end(stopping());
  }
}

function stopping(): RpcError {
  return new RpcError(status.UNAVAILABLE, 'the edge proxy is stopping');
}
