import type { Socket } from 'node:net';
import fc from 'fast-check';
import { readRequest } from '#edge-proxy/http2/request-rules.ts';
import { parseRequestHead } from '#edge-proxy/tunnel/request-head.ts';
import { openTunnel } from '#edge-proxy/tunnel/socket-tunnel.ts';
import type { OriginTunnel } from '#edge-proxy/tunnel/tunnel.ts';
import type { HeaderFields } from '#edge-proxy/tunnel/tunnel-stream.ts';
import { forwardedReading, type Reading } from './reading.ts';

/** Requests of HTTP/2, before an application of HTTP/1.1: what would be another request there, or another end of this one, in every field that HTTP/2 takes as it is. */

/** One request as it stands on the wire. */
export interface Http2Request {
  readonly fields: HeaderFields;
  /** Absent: the head ends it. */
  readonly body: string | undefined;
  readonly trailers: HeaderFields | undefined;
}

const another = 'GET /smuggled HTTP/1.1\r\nHost: db\r\n\r\n';
const methods = ['GET', 'POST', 'HEAD', 'OPTIONS', 'QUERY', 'get', 'G ET', `GET /b HTTP/1.1\r\nX: y`, 'GET\r', ''];
const paths = [
  '/a',
  '/a?b=c',
  '/x/../a/./%61//b',
  '/a;b=c/%7e?%2f..//',
  '//db/a',
  '*',
  `/a HTTP/1.1\r\nHost: db\r\n\r\n${another}`,
  '/a b',
  '/a\t',
  '/a#b',
  '/é',
  'http://db/a',
  'a',
];
const authorities = ['db', 'db:80', 'DB', '', 'db\r\nX: y', 'u@db', 'db/', 'a b', 'db, db'];
const names = [
  'x-a',
  'cookie',
  'content-length',
  'transfer-encoding',
  'te',
  'host',
  'connection',
  'cookie',
  'expect',
  'upgrade',
  'http2-settings',
  'keep-alive',
  'trailer',
  'selvedge-source',
  'x-forwarded-client-cert',
  'X-Up',
  'x a',
  'x-a:',
  'x\r\ny',
  '',
];
const values = [
  '5',
  '0',
  '+5',
  '5, 5',
  '39',
  'chunked',
  'trailers',
  'db',
  'close',
  '100-continue',
  'a=1; b=2',
  '',
  ' a',
  'a\t',
  'a\r\nTransfer-Encoding: chunked',
  `a\r\n\r\n${another}`,
  'a\nb: c',
  'a\0b',
  'é',
  'websocket',
];
const plainValues = ['db', 'a=1; b=2', 'é', ...values];
const bodies = [undefined, '', 'hello', '5\r\nhello\r\n0\r\n\r\n', another, `0\r\n\r\n${another}`];

/** Mostly a word that passes: the first ones are. */
const mostly = (words: readonly string[]) =>
  fc.oneof({ arbitrary: fc.constantFrom(...words.slice(0, 3)), weight: 6 }, fc.constantFrom(...words));

/** One wild field is mostly the end of a request. */
const field = fc.oneof(
  { arbitrary: fc.tuple(fc.constant('content-length'), fc.constantFrom('5', '0', '39')), weight: 3 },
  { arbitrary: fc.tuple(fc.constantFrom('x-a', 'cookie', 'selvedge-source'), mostly(plainValues)), weight: 3 },
  { arbitrary: fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values)), weight: 2 },
);

/** A few of them, one behind the other on one connection. */
export const http2Conversations: fc.Arbitrary<readonly Http2Request[]> = fc.array(
  fc
    .record({
      method: mostly(methods),
      path: mostly(paths),
      authority: mostly(authorities),
      regular: fc.array(field, { maxLength: 2 }),
      body: fc.constantFrom(...bodies),
      trailers: fc.option(fc.constant<HeaderFields>([['x-trailer', '1']]), { nil: undefined }),
    })
    .map(({ method, path, authority, regular, body, trailers }) => ({
      fields: [[':method', method], [':scheme', 'http'], [':path', path], [':authority', authority], ...regular],
      body,
      trailers,
    })),
  { minLength: 1, maxLength: 4 },
);

/** As what it has to reach the application. Undefined: it must not. */
export function http2Reading({ fields, body }: Http2Request): Reading | undefined {
  const parsed = parseRequestHead(fields);
  const head = parsed && readRequest({ ...parsed, whole: body === undefined, over: false });
  if (head === undefined || 'reason' in head) return undefined;
  const { framing } = head;
  const whole = body ?? '';
  if (framing.kind !== 'length') return forwardedReading({ head, body: whole, complete: true });
  // What is too long is told so, and none of it but what was announced goes on; by then the application may have that.
  return forwardedReading({ head, body: whole.slice(0, framing.bytes), complete: whole.length >= framing.bytes });
}

/** Asks one after the other on a connection of their own; each ends with its answer, or is reset. */
export async function sayInHttp2(socket: Socket, requests: readonly Http2Request[]): Promise<void> {
  socket.on('error', () => {}); // it is closed then
  try {
    const tunnel = await opened(socket);
    for (const request of requests) if (tunnel.available > 0) await asked(tunnel, request);
    tunnel.close();
  } finally {
    socket.destroy();
  }
}

function opened(socket: Socket): Promise<OriginTunnel> {
  return new Promise((resolve, reject) => {
    const tunnel = openTunnel({
      socket,
      handlers: { onReady: () => resolve(tunnel), onClose: () => reject(new Error('the proxy hung up')) },
    });
  });
}

async function asked(tunnel: OriginTunnel, { fields, body, trailers }: Http2Request): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(reject, 10_000, new Error(`no answer to ${JSON.stringify(fields)}`));
  const stream = tunnel.request(fields, body === undefined, () => {});
  stream.handlers = { onData() {}, onDrain() {}, onEnd: resolve, onReset: () => resolve() };
  if (body !== undefined) {
    stream.write(Buffer.from(body, 'latin1'));
    stream.end(trailers);
  }
  try {
    await promise;
  } finally {
    clearTimeout(timer);
  }
}
