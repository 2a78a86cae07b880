import { errorCode, flag, frameType, Http2ConnectionError, maxInt31 } from './http2.ts';

/** Most octets of one encoded field block, over all its frames. */
export const maxHeaderBlockSize = 65_536;
/** Most CONTINUATION frames of one block. */
const maxContinuations = 32;

/** Who takes whole blocks. */
export interface HeaderBlockSink {
  /** HEADERS with all its CONTINUATION: octets `start` to before `end` of `chunk`. */
  headers(
    streamId: number,
    chunk: Buffer,
    start: number,
    end: number,
    endStream: boolean,
    dependsOnItself: boolean,
  ): void;
}

/** Puts a field block together from HEADERS and CONTINUATION (RFC 9113 4.3, 6.2, 6.10), within bounds, and sees that nothing comes between them. */
export class HeaderBlock {
  readonly #sink: HeaderBlockSink;
  /** Stream whose block is not complete; 0: none. */
  #streamId = 0;
  #endStream = false;
  #dependsOnItself = false;
  #parts: Buffer[] = [];
  #size = 0;
  #begun = 0;

  constructor(sink: HeaderBlockSink) {
    this.#sink = sink;
  }

  /** A number of the block that is not complete. */
  get pending(): number | undefined {
    return this.#streamId === 0 ? undefined : this.#begun;
  }

  /** Throws PROTOCOL_ERROR when a frame may not stand here: CONTINUATION without HEADERS, or anything else within a block. */
  expect(type: number, streamId: number): void {
    if (
      this.#streamId === 0
        ? type === frameType.continuation
        : type !== frameType.continuation || streamId !== this.#streamId
    ) {
      throw new Http2ConnectionError(errorCode.protocolError, `frame of type ${type} out of place in a header block`);
    }
  }

  /** A HEADERS frame, whose payload is octets `from` to before `to` of `chunk`. */
  begin(streamId: number, flags: number, chunk: Buffer, from: number, to: number): void {
    let start = from;
    let end = to;
    if ((flags & flag.padded) !== 0) {
      if (start === end) throw tooShort();
      end -= chunk[start] ?? 0;
      start += 1;
    }
    this.#dependsOnItself = false;
    if ((flags & flag.priority) !== 0) {
      if (start + 5 > to) throw tooShort();
      this.#dependsOnItself = (chunk.readUInt32BE(start) & maxInt31) === streamId;
      start += 5;
    }
    if (start > end) throw new Http2ConnectionError(errorCode.protocolError, 'padding longer than its frame');
    const endStream = (flags & flag.endStream) !== 0;
    if ((flags & flag.endHeaders) !== 0) {
      this.#sink.headers(streamId, chunk, start, end, endStream, this.#dependsOnItself);
      return;
    }
    this.#begun += 1;
    this.#streamId = streamId;
    this.#endStream = endStream;
    this.#size = end - start;
    this.#parts = [Buffer.from(chunk.subarray(start, end))];
  }

  /** A CONTINUATION frame. Throws ENHANCE_YOUR_CALM past the bounds. */
  continue(flags: number, payload: Buffer): void {
    this.#size += payload.length;
    if (this.#size > maxHeaderBlockSize || this.#parts.length > maxContinuations) {
      throw new Http2ConnectionError(errorCode.enhanceYourCalm, 'header block over the limit');
    }
    this.#parts.push(Buffer.from(payload));
    if ((flags & flag.endHeaders) === 0) return;
    const block = Buffer.concat(this.#parts);
    const streamId = this.#streamId;
    this.#streamId = 0;
    this.#parts = [];
    this.#sink.headers(streamId, block, 0, block.length, this.#endStream, this.#dependsOnItself);
  }
}

function tooShort(): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.frameSizeError, 'HEADERS shorter than its flags say');
}
