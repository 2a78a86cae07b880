import { Http2Connection, type Http2ConnectionOptions } from './connection.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import { frameHeaderSize } from './http2.ts';
import { defaultTunnelLimits, type TunnelLimits, type TunnelRequest } from './tunnel.ts';
import { type HeaderFields, type InboundTunnelStream, idleStreamHandlers, type TunnelStream } from './tunnel-stream.ts';

/** For tests: a field section encoded without a dynamic table, whatever came before. */
export function encodeFields(fields: HeaderFields): Buffer {
  // Without the octet by which an encoder says first that it has none.
  return new HpackEncoder().encode([], fields).subarray(1);
}

/**
 * For tests: one frame of HTTP/2 (RFC 9113 4.1), of any kind and with any content.
 *
 * @param payload bytes, or hexadecimal
 */
export function rawFrame(type: number, flags: number, streamId: number, payload: Uint8Array | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'hex') : payload;
  const header = Buffer.alloc(frameHeaderSize);
  header.writeUIntBE(body.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, body]);
}

/** For tests: one end of a wire in memory, with what it has written, and a clock that the test moves. */
export class WireEnd {
  readonly connection: Http2Connection;
  /** Written and not yet taken. */
  output: Buffer[] = [];
  /** False: the end's output is full. */
  takesMore = true;
  /** It wants no more for now. */
  held = false;
  closedWith: unknown = 'open';
  goAways = 0;
  readonly offered: Array<{ stream: InboundTunnelStream; request: TunnelRequest }> = [];
  #scheduled: Array<() => void> = [];

  constructor(
    role: 'client' | 'server',
    clock: { nowMs: number },
    options: {
      limits?: Partial<TunnelLimits>;
      requests?: boolean;
      lines?: Pick<Http2ConnectionOptions, 'turns' | 'idleTurns'>;
      onStream?: (stream: InboundTunnelStream, request: TunnelRequest) => void;
    } = {},
  ) {
    const connectionOptions: Http2ConnectionOptions = {
      role,
      ...options.lines,
      requests: options.requests ?? false,
      limits: { ...defaultTunnelLimits, ...options.limits },
      now: () => clock.nowMs,
      write: (bytes) => {
        this.output.push(bytes);
        return this.takesMore;
      },
      schedule: (flush) => this.#scheduled.push(flush),
      hold: (held) => {
        this.held = held;
      },
      handlers: {
        onStream: (stream, request) => {
          this.offered.push({ stream, request });
          options.onStream?.(stream, request);
        },
        onGoAway: () => {
          this.goAways += 1;
        },
        onClose: (reason) => {
          this.closedWith = reason;
        },
      },
    };
    this.connection = new Http2Connection(connectionOptions);
  }

  /** Ends the turn of the event loop, and takes what has been written. */
  take(): Buffer {
    const scheduled = this.#scheduled;
    this.#scheduled = [];
    for (const flush of scheduled) flush();
    const bytes = Buffer.concat(this.output);
    this.output = [];
    return bytes;
  }

  /** The last stream offered. */
  get lastOffered(): InboundTunnelStream {
    const last = this.offered.at(-1);
    if (last === undefined) throw new Error('no stream was offered');
    return last.stream;
  }
}

/** Carries bytes both ways until neither end has more. */
export function settle(a: WireEnd, b: WireEnd): void {
  for (;;) {
    const forth = a.take();
    if (forth.length > 0) b.connection.receive(forth);
    const back = b.take();
    if (back.length > 0) a.connection.receive(back);
    if (forth.length === 0 && back.length === 0) return;
  }
}

/** What a stream's handlers were told. */
export interface StreamRecord {
  readonly chunks: Buffer[];
  received: number;
  ended: number;
  trailers: HeaderFields[];
  drains: number;
  resets: Array<[code: number, remote: boolean]>;
}

/** Handlers that write down what they are told. */
export function record(stream: TunnelStream): StreamRecord {
  const told: StreamRecord = { chunks: [], received: 0, ended: 0, trailers: [], drains: 0, resets: [] };
  stream.handlers = {
    ...idleStreamHandlers,
    onData(chunk) {
      told.chunks.push(chunk);
      told.received += chunk.length;
    },
    onTrailers(fields) {
      told.trailers.push(fields);
    },
    onEnd() {
      told.ended += 1;
    },
    onDrain() {
      told.drains += 1;
    },
    onReset(code, remote) {
      told.resets.push([code, remote]);
    },
  };
  return told;
}
