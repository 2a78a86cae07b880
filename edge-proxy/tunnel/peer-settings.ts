import { defaultWindow, errorCode, Http2ConnectionError, maxFrameSize, maxInt31, settingId } from './http2.ts';

/** Streams that we open before the peer has said how many it takes: what RFC 9113 6.5.2 recommends that it takes at least. */
const assumedConcurrentStreams = 100;
/** A million streams are as good as no limit. */
const mostConcurrentStreams = 1_000_000;
/** RFC 9113 6.5.2. */
const initialTableSize = 4_096;
const largestMaxFrameSize = 0xff_ffff;

/** What the peer's SETTINGS say (RFC 9113 6.5, RFC 8441 3). Its frame size does not matter, as ours are of the least. */
export class PeerSettings {
  readonly #role: 'client' | 'server';
  /** Streams that we may open. */
  maxConcurrentStreams = assumedConcurrentStreams;
  /** Window of our side of a new stream, bytes. */
  initialWindow = defaultWindow;
  /** Dynamic table that its HPACK decoder keeps, octets: the least that it has said, so that one which shrinks and grows is not missed. */
  headerTableSize = initialTableSize;
  /** It takes extended CONNECT (RFC 8441 3). */
  takesProtocols = false;
  #first = true;

  /** @param role of our side */
  constructor(role: 'client' | 'server') {
    this.#role = role;
  }

  /**
   * Takes the payload of a SETTINGS frame (a multiple of six octets). Throws Http2ConnectionError for values that may not be.
   *
   * @returns by how much the initial window changed: all streams' windows change with it (RFC 9113 6.9.2)
   */
  apply(entries: Buffer): number {
    const before = this.initialWindow;
    if (this.#first) this.maxConcurrentStreams = mostConcurrentStreams;
    this.#first = false;
    for (let at = 0; at < entries.length; at += 6) this.#set(entries.readUInt16BE(at), entries.readUInt32BE(at + 2));
    return this.initialWindow - before;
  }

  #set(id: number, value: number): void {
    switch (id) {
      case settingId.headerTableSize:
        this.headerTableSize = Math.min(value, this.headerTableSize);
        break;
      case settingId.maxConcurrentStreams:
        this.maxConcurrentStreams = Math.min(value, mostConcurrentStreams);
        break;
      case settingId.initialWindowSize:
        if (value > maxInt31)
          throw new Http2ConnectionError(errorCode.flowControlError, 'SETTINGS: initial window too large');
        this.initialWindow = value;
        break;
      case settingId.maxFrameSize:
        if (value < maxFrameSize || value > largestMaxFrameSize) throw invalid('MAX_FRAME_SIZE');
        break;
      case settingId.enablePush:
        if (value > (this.#role === 'client' ? 0 : 1)) throw invalid('ENABLE_PUSH');
        break;
      case settingId.enableConnectProtocol:
        // Once said it is not taken back.
        if (value > 1 || (value === 0 && this.takesProtocols)) throw invalid('ENABLE_CONNECT_PROTOCOL');
        this.takesProtocols = value === 1;
        break;
      default:
    }
  }
}

function invalid(name: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.protocolError, `SETTINGS: invalid ${name}`);
}
