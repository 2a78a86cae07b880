import type { ByteStream } from './byte-stream.ts';
import { BodyEncoder } from './http1/body-encoder.ts';
import type { Framing } from './http1/message.ts';

/** Body bytes up to this size are copied behind the head, so that a small answer is one write and one packet. */
const joinBelowBytes = 4_096;

/**
 * Writes HTTP/1.1 messages to one byte stream. A head waits until the first bytes of its body or the end of the present call, so that
 * both leave in one write; `flush` must follow each batch of calls.
 */
export class MessageWriter {
  readonly #stream: ByteStream;
  #head = '';
  #chunks: BodyEncoder | undefined;
  #more = true;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  /** @param head encoded, latin1 */
  head(head: string, framing: Framing): void {
    this.flush();
    this.#head = head;
    this.#chunks = framing.kind === 'chunked' ? new BodyEncoder(framing, (piece) => this.#put(piece)) : undefined;
  }

  /** Bytes of the body, unencoded. @returns false: wait for the stream's drain */
  body(chunk: Buffer): boolean {
    if (this.#chunks === undefined) this.#put(chunk);
    else this.#chunks.push(chunk);
    return this.#more;
  }

  /** The body is whole. */
  finish(): void {
    this.#chunks?.finish();
    this.#chunks = undefined;
    this.flush();
  }

  /** Sends a head that still waits for its body. */
  flush(): void {
    if (this.#head === '') return;
    const head = this.#head;
    this.#head = '';
    this.#more = this.#stream.write(head);
  }

  #put(piece: Buffer): void {
    if (this.#head === '') {
      this.#more = this.#stream.write(piece);
    } else if (piece.length <= joinBelowBytes) {
      const head = this.#head;
      this.#head = '';
      const joined = Buffer.allocUnsafe(head.length + piece.length);
      joined.write(head, 0, 'latin1');
      piece.copy(joined, head.length);
      this.#more = this.#stream.write(joined);
    } else {
      this.#stream.cork?.();
      this.flush();
      this.#more = this.#stream.write(piece);
      this.#stream.uncork?.();
    }
  }
}
