/** The vocabulary of HTTP/2 on the wire (RFC 9113 sections 4, 6, 7, 11). */

/** RFC 9113 6. */
export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Bits of a frame's flags octet. */
export const flag = { ack: 0x1, endStream: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** RFC 9113 7. */
export const errorCode = {
  noError: 0x0,
  protocolError: 0x1,
  internalError: 0x2,
  flowControlError: 0x3,
  settingsTimeout: 0x4,
  streamClosed: 0x5,
  frameSizeError: 0x6,
  refusedStream: 0x7,
  cancel: 0x8,
  compressionError: 0x9,
  connectError: 0xa,
  enhanceYourCalm: 0xb,
  inadequateSecurity: 0xc,
  http11Required: 0xd,
} as const;

/** RFC 9113 6.5.2, RFC 8441 3. */
export const settingId = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
} as const;

/** What a client sends first (RFC 9113 3.4). */
export const connectionPreface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Octets of a frame header (RFC 9113 4.1). */
export const frameHeaderSize = 9;
/** Largest payload that we send, and that we let the peer send: the least that every endpoint takes (RFC 9113 4.2). */
export const maxFrameSize = 16_384;
/** Flow-control windows and stream identifiers end here: 2^31 - 1. */
export const maxInt31 = 0x7fff_ffff;
/** Windows before any SETTINGS or WINDOW_UPDATE (RFC 9113 6.9.2). */
export const defaultWindow = 65_535;

/** A connection error (RFC 9113 5.4.1): the connection is of no more use. Thrown where it is found, caught in one place. */
export class Http2ConnectionError extends Error {
  /** RFC 9113 7. */
  readonly code: number;
  /** It came of callers of the peer who went away, which may be more than the peer can help. */
  readonly ofCallers: boolean;

  constructor(code: number, message: string, ofCallers = false) {
    super(message);
    this.name = 'Http2ConnectionError';
    this.code = code;
    this.ofCallers = ofCallers;
  }
}
