import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Framing } from './message.ts';

/** Up to this size a chunk is copied with its frame into one buffer: cheaper than three writes. */
const joinBelowBytes = 16_384;
const crlf = Buffer.from('\r\n');
const lastChunk = Buffer.from('0\r\n\r\n');

/**
 * Frames a body anew for the next hop, so that its length is said once and by us. Pieces go to `write` in order; those of framings other
 * than `chunked` are passed on without a copy.
 */
export class BodyEncoder {
  readonly #write: (piece: Buffer) => void;
  readonly #chunked: boolean;
  /** Bytes still owed; Infinity where no length is said. */
  #left: number;

  constructor(framing: Framing, write: (piece: Buffer) => void) {
    this.#write = write;
    this.#chunked = framing.kind === 'chunked';
    this.#left = framing.kind === 'none' ? 0 : framing.kind === 'length' ? framing.bytes : Number.POSITIVE_INFINITY;
  }

  /** @throws MeshError SLV-4221 when more comes than was announced: the connection must be cut */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return; // an empty chunk would end the body
    if (chunk.length > this.#left) throw new MeshError('SLV-4221', 'The body is longer than announced.');
    this.#left -= chunk.length;
    if (!this.#chunked) this.#write(chunk);
    else if (chunk.length <= joinBelowBytes) this.#write(framed(chunk));
    else {
      this.#write(Buffer.from(`${chunk.length.toString(16)}\r\n`, 'latin1'));
      this.#write(chunk);
      this.#write(crlf);
    }
  }

  /** @throws MeshError SLV-4221 when less came than was announced: the connection must be cut */
  finish(): void {
    if (this.#chunked) this.#write(lastChunk);
    else if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY)
      throw new MeshError('SLV-4221', 'The body is shorter than announced.');
  }
}

function framed(chunk: Buffer): Buffer {
  const size = chunk.length.toString(16);
  const frame = Buffer.allocUnsafe(size.length + chunk.length + 4);
  frame.write(`${size}\r\n`, 'latin1');
  chunk.copy(frame, size.length + 2);
  frame[frame.length - 2] = 0x0d;
  frame[frame.length - 1] = 0x0a;
  return frame;
}
