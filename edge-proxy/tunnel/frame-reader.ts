import { HeaderBlock, type HeaderBlockSink } from './header-block.ts';
import {
  connectionPreface,
  errorCode,
  flag,
  frameHeaderSize,
  frameType,
  Http2ConnectionError,
  maxFrameSize,
  maxInt31,
} from './http2.ts';

/**
 * What a FrameReader tells: frames that are well-formed by themselves. Buffers are valid only during the call, except those of `data`. Each may throw
 * Http2ConnectionError.
 */
export interface FrameSink extends HeaderBlockSink {
  /**
   * A DATA frame or, where it arrives in parts, the part that is here: octets `start` to before `end` of `chunk`.
   *
   * @param flowBytes what it takes from the flow-control windows: padding included
   * @param endStream only with the last part
   */
  data(streamId: number, chunk: Buffer, start: number, end: number, flowBytes: number, endStream: boolean): void;
  rstStream(streamId: number, code: number): void;
  settings(entries: Buffer): void;
  settingsAck(): void;
  ping(opaque: Buffer): void;
  pingAck(opaque: Buffer): void;
  goAwayReceived(lastStreamId: number, code: number, debug: string): void;
  windowUpdate(streamId: number, increment: number): void;
  /** PRIORITY, or a frame of a type that we do not know: both have no meaning here. */
  ignored(): void;
}

const empty = Buffer.alloc(0);

/** Where the reader is within the byte stream. */
const at = { preface: 0, header: 1, payload: 2, padLength: 3, data: 4, padding: 5, skipped: 6, stopped: 7 } as const;
type Position = (typeof at)[keyof typeof at];

/**
 * The incremental frame parser (RFC 9113 4 and 6): bytes in whatever pieces, frames out. DATA passes through without being gathered; other payloads are
 * gathered only when they arrive in pieces, into one buffer of 16 KiB. Any fault throws Http2ConnectionError; the reader must not be used after one.
 */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #headers: HeaderBlock;
  #position: Position;
  /** Octets of the preface, the frame header or the payload that have been gathered. */
  #filled = 0;
  readonly #header = Buffer.alloc(frameHeaderSize);
  #gathered: Buffer | undefined;

  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Octets of the current part (payload, data or padding) still to come. */
  #remaining = 0;
  #padding = 0;
  /** Flow-control octets of padding that go with the next part of the data. */
  #paddingDue = 0;

  /** @param role of our side: a server expects the connection preface first */
  constructor(role: 'client' | 'server', sink: FrameSink) {
    this.#sink = sink;
    this.#headers = new HeaderBlock(sink);
    this.#position = role === 'server' ? at.preface : at.header;
  }

  /** Which head, by a number of our own, has begun and is not whole. */
  get pendingHead(): number | undefined {
    return this.#headers.pending;
  }

  /** Reads no further, not even in the chunk at hand. */
  stop(): void {
    this.#position = at.stopped;
  }

  /**
   * Takes the next bytes of the connection: those of `chunk` from `from` on, which must not be changed afterwards.
   *
   * @param frames begins no more than these, and as many RST_STREAM behind them: what they take back is not begun elsewhere then
   * @returns where it stopped: at the end, or before the frame that was one too many
   */
  receive(chunk: Buffer, from = 0, frames = Number.POSITIVE_INFINITY): number {
    const size = chunk.length;
    let offset = from;
    let left = frames;
    while (offset < size) {
      switch (this.#position) {
        case at.header:
          if (this.#filled === 0 && left-- <= 0 && (left < -frames || chunk[offset + 3] !== frameType.rstStream)) {
            return offset;
          }
          if (this.#filled === 0 && size - offset >= frameHeaderSize) {
            this.#begin(chunk, offset);
            offset += frameHeaderSize;
            break;
          }
          this.#header[this.#filled++] = chunk[offset++] ?? 0;
          if (this.#filled < frameHeaderSize) break;
          this.#filled = 0;
          this.#begin(this.#header, 0);
          break;
        case at.data: {
          const end = Math.min(size, offset + this.#remaining);
          this.#data(chunk, offset, end);
          offset = end;
          break;
        }
        case at.payload:
          offset = this.#payload(chunk, offset);
          break;
        case at.padLength:
          this.#setPadding(chunk[offset++] ?? 0);
          break;
        case at.padding:
        case at.skipped: {
          const end = Math.min(size, offset + this.#remaining);
          this.#remaining -= end - offset;
          offset = end;
          if (this.#remaining === 0) this.#position = at.header;
          break;
        }
        case at.preface:
          if (chunk[offset++] !== connectionPreface[this.#filled++]) throw protocolError('not an HTTP/2 preface');
          if (this.#filled < connectionPreface.length) break;
          this.#filled = 0;
          this.#position = at.header;
          break;
        case at.stopped:
          return size;
      }
    }
    return size;
  }

  /** A frame header is here: decides how its payload is read. */
  #begin(bytes: Buffer, offset: number): void {
    const length = ((bytes[offset] ?? 0) << 16) | ((bytes[offset + 1] ?? 0) << 8) | (bytes[offset + 2] ?? 0);
    const type = bytes[offset + 3] ?? 0;
    const flags = bytes[offset + 4] ?? 0;
    const streamId = bytes.readUInt32BE(offset + 5) & maxInt31;
    if (length > maxFrameSize) throw frameSizeError(`frame of ${length} octets`);
    this.#headers.expect(type, streamId);
    this.#type = type;
    this.#flags = flags;
    this.#streamId = streamId;
    this.#remaining = length;
    if (type === frameType.data) {
      this.#beginData(length);
      return;
    }
    checkHeader(type, flags, streamId, length);
    if (type > frameType.continuation) {
      this.#position = length === 0 ? at.header : at.skipped;
      this.#sink.ignored();
      return;
    }
    if (length === 0) {
      this.#position = at.header;
      this.#dispatch(empty);
      return;
    }
    this.#position = at.payload;
  }

  #beginData(length: number): void {
    if (this.#streamId === 0) throw protocolError('DATA on stream 0');
    this.#padding = 0;
    this.#paddingDue = 0;
    if ((this.#flags & flag.padded) !== 0) {
      if (length === 0) throw frameSizeError('padded DATA without a pad length');
      this.#position = at.padLength;
    } else if (length === 0) {
      this.#data(empty, 0, 0);
    } else {
      this.#position = at.data;
    }
  }

  #setPadding(padding: number): void {
    this.#remaining -= 1;
    if (padding > this.#remaining) throw protocolError('padding longer than its frame');
    this.#padding = padding;
    this.#paddingDue = padding + 1;
    this.#remaining -= padding;
    if (this.#remaining === 0) this.#data(empty, 0, 0);
    else this.#position = at.data;
  }

  /** Part of the data of a DATA frame. The padding is accounted for with the first, and its octets skipped after the last. */
  #data(chunk: Buffer, start: number, end: number): void {
    const length = end - start;
    const flowBytes = length + this.#paddingDue;
    this.#paddingDue = 0;
    this.#remaining -= length;
    let endStream = false;
    if (this.#remaining === 0) {
      endStream = (this.#flags & flag.endStream) !== 0;
      this.#remaining = this.#padding;
      this.#position = this.#padding > 0 ? at.padding : at.header;
    }
    this.#sink.data(this.#streamId, chunk, start, end, flowBytes, endStream);
  }

  /** Hands on a payload that is whole, or gathers what is here. Answers the offset after it. */
  #payload(chunk: Buffer, offset: number): number {
    const here = Math.min(chunk.length - offset, this.#remaining);
    const end = offset + here;
    if (this.#filled === 0 && here === this.#remaining) {
      this.#position = at.header;
      if (this.#type === frameType.headers) this.#headers.begin(this.#streamId, this.#flags, chunk, offset, end);
      else this.#dispatch(chunk.subarray(offset, end));
      return end;
    }
    this.#gathered ??= Buffer.allocUnsafeSlow(maxFrameSize);
    chunk.copy(this.#gathered, this.#filled, offset, end);
    this.#filled += here;
    this.#remaining -= here;
    if (this.#remaining === 0) {
      const payload = this.#gathered.subarray(0, this.#filled);
      this.#filled = 0;
      this.#position = at.header;
      this.#dispatch(payload);
    }
    return end;
  }

  #dispatch(payload: Buffer): void {
    const sink = this.#sink;
    switch (this.#type) {
      case frameType.headers:
        this.#headers.begin(this.#streamId, this.#flags, payload, 0, payload.length);
        break;
      case frameType.continuation:
        this.#headers.continue(this.#flags, payload);
        break;
      case frameType.priority:
        if ((payload.readUInt32BE(0) & maxInt31) === this.#streamId) throw protocolError('stream depends on itself');
        sink.ignored();
        break;
      case frameType.rstStream:
        sink.rstStream(this.#streamId, payload.readUInt32BE(0));
        break;
      case frameType.settings:
        (this.#flags & flag.ack) !== 0 ? sink.settingsAck() : sink.settings(payload);
        break;
      case frameType.ping:
        (this.#flags & flag.ack) !== 0 ? sink.pingAck(payload) : sink.ping(payload);
        break;
      case frameType.goAway:
        sink.goAwayReceived(
          payload.readUInt32BE(0) & maxInt31,
          payload.readUInt32BE(4),
          payload.toString('latin1', 8, Math.min(payload.length, 136)),
        );
        break;
      case frameType.windowUpdate:
        sink.windowUpdate(this.#streamId, payload.readUInt32BE(0) & maxInt31);
        break;
      default:
        throw protocolError(`unexpected frame of type ${this.#type}`);
    }
  }
}

/** Exact payload lengths, by type (RFC 9113 6). */
const exactLength: ReadonlyMap<number, number> = new Map([
  [frameType.priority, 5],
  [frameType.rstStream, 4],
  [frameType.ping, 8],
  [frameType.windowUpdate, 4],
]);
const onConnectionOnly: ReadonlySet<number> = new Set([frameType.settings, frameType.ping, frameType.goAway]);
const onStreamOnly: ReadonlySet<number> = new Set([
  frameType.headers,
  frameType.priority,
  frameType.rstStream,
  frameType.continuation,
]);

/** What RFC 9113 6 says of length and stream of each type but DATA. A few stream errors are treated as connection errors, as 5.4.2 allows. */
function checkHeader(type: number, flags: number, streamId: number, length: number): void {
  if (streamId === 0 ? onStreamOnly.has(type) : onConnectionOnly.has(type)) {
    throw protocolError(`frame of type ${type} on stream ${streamId}`);
  }
  // We are a server, or a client that has disabled push: nobody may send this to us (RFC 9113 6.6).
  if (type === frameType.pushPromise) throw protocolError('PUSH_PROMISE');
  const exact = exactLength.get(type);
  if (exact !== undefined && length !== exact) throw frameSizeError(`frame of type ${type} with ${length} octets`);
  if (type === frameType.settings && ((flags & flag.ack) !== 0 ? length !== 0 : length % 6 !== 0)) {
    throw frameSizeError(`SETTINGS with ${length} octets`);
  }
  if (type === frameType.goAway && length < 8) throw frameSizeError(`GOAWAY with ${length} octets`);
}

function protocolError(message: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.protocolError, message);
}

function frameSizeError(message: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.frameSizeError, message);
}
