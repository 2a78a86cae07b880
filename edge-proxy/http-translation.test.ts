import assert from 'node:assert/strict';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { strictNormalization } from '#policies/request-normalization.ts';
import type { FeedEndpoint } from '#policies/wire/feed-routing.ts';
import { ask, plainSession, session } from '#test/http2-session.ts';
import { dialTlsPeer, RawPeer } from '#test/raw-client.ts';
import { endpoint, type Mesh, startMesh } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { traitsTowards, untranslatable } from './http-translation.ts';
import { forwardableHeaders } from './http1/forwardable-headers.ts';
import { encodeRequestHead } from './http1/head-encoder.ts';
import type { RequestHead } from './http1/message.ts';
import { cut, recordRequests } from './http1/recorder.ts';
import { readRequest } from './http2/request-rules.ts';
import { webSocketKey } from './http2/websocket.ts';
import { requestFields } from './http2/wire-fields.ts';
import { normalise } from './normalised-request.ts';
import { parseRequestHead } from './tunnel/request-head.ts';
import type { HeaderFields } from './tunnel/tunnel-stream.ts';

/** A request as it goes on from a proxy. */
function onward(head: RequestHead, protocol: 'http' | 'http2') {
  const { method, framing } = head;
  const target = normalise(head, strictNormalization);
  if (!target.ok) return undefined;
  const headers = forwardableHeaders(head);
  const http2 = traitsTowards(protocol, head);
  return { method, target: target.path + target.query, headers, framing, upgrade: undefined, http2 };
}

const pairs = ({ headers }: { readonly headers: readonly string[] }): string[] =>
  headers.flatMap((name, at) => (at % 2 === 0 ? [`${name.toLowerCase()}: ${headers[at + 1]}`] : []));

describe('heads, written anew in the other version', () => {
  const wild = fc.string({
    unit: fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...'aZ0-/:?. _\t%') }, fc.constantFrom(...'\r\n\0\x7fé"\\')),
    maxLength: 12,
  });
  const mostly = (...words: readonly string[]) => fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...words) }, wild);
  const field = fc.tuple(
    mostly(
      'x-a',
      'te',
      'cookie',
      'content-length',
      'host',
      'transfer-encoding',
      'connection',
      'expect',
      'selvedge-source',
    ),
    mostly('1', 'trailers', 'chunked', 'db', 'close', '100-continue', 'a=1'),
  );

  test('property: any HTTP/2 that is taken is one request of HTTP/1.1, and says the same there', () => {
    let taken = 0;
    fc.assert(
      fc.property(
        fc.record({
          method: mostly('GET', 'POST'),
          path: mostly('/', '/a?b', '*'),
          authority: mostly('db', 'db:80'),
          fields: fc.array(field, { maxLength: 4 }),
          whole: fc.boolean(),
        }),
        ({ method, path, authority, fields, whole }) => {
          const wire: HeaderFields = [
            [':method', method],
            [':scheme', 'http'],
            [':path', path],
            [':authority', authority],
            ...fields,
          ];
          const parsed = parseRequestHead(wire);
          const head = parsed === undefined ? undefined : readRequest({ ...parsed, whole, over: false });
          if (head === undefined || 'reason' in head) return;
          const request = onward(head, 'http');
          if (request === undefined) return;
          taken += 1;
          assert.equal(request.http2, undefined);
          const text = encodeRequestHead(request.method, request.target, request.headers, request.framing);
          const { messages, refusal } = recordRequests(cut(text, []), false);
          assert.equal(refusal, undefined, JSON.stringify(text));
          const [read, ...more] = messages;
          assert.deepEqual(more, []);
          assert.deepEqual(
            [read?.head.method, read?.head.target, read?.head.host, read?.head.framing],
            [method, request.target, head.host, head.framing],
          );
          const framed = pairs(read?.head ?? { headers: [] }).filter(
            (pair) => !/^(content-length|transfer-enc)/.test(pair),
          );
          assert.deepEqual(framed, pairs(request));
        },
      ),
      { numRuns: 5_000 },
    );
    assert.ok(taken > 300, String(taken));
  });

  test('HTTP/1.1 as HTTP/2: lower case, :authority, nothing of the connection, nothing of who calls', () => {
    const text =
      'POST http://db/a/../b?q HTTP/1.1\r\nHost: db\r\nX-One: 1\r\nCookie: a=1\r\nCookie: b=2\r\nTE: trailers\r\nTrailer: x\r\n' +
      'Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nSelvedge-Source: me\r\nTransfer-Encoding: chunked\r\n\r\n';
    const [{ head } = assert.fail('refused')] = recordRequests(cut(text, [])).messages;
    const request = onward(head, 'http2') ?? assert.fail('not canonical');
    const fields = requestFields(request);
    assert.deepEqual(fields, [
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', '/b?q'],
      [':authority', 'db'],
      ['x-one', '1'],
      ['cookie', 'a=1'],
      ['cookie', 'b=2'],
    ]);
    assert.ok(parseRequestHead(fields) !== undefined);
  });

  for (const [what, protocol, head, expected] of [
    [
      'HTTP/2 to bytes',
      'tcp',
      { http2: { takesTrailers: false, grpc: false } },
      /protocol tcp: it is not asked in HTTP\/2/,
    ],
    ['HTTP/1.1 to bytes', 'tcp', {}, undefined],
    ['gRPC to HTTP/1.1', 'http', { http2: { takesTrailers: true, grpc: true } }, /gRPC is HTTP\/2 all the way/],
    ['HTTP/2 to HTTP/1.1', 'http', { http2: { takesTrailers: true, grpc: false } }, undefined],
    ['gRPC in HTTP/1.1', 'grpc', { headers: ['Content-Type', 'application/grpc'] }, /gRPC is HTTP\/2 all the way/],
    ['gRPC-Web in HTTP/1.1', 'grpc', { headers: ['Content-Type', 'application/grpc-web'] }, undefined],
    ['an upgrade', 'http2', { method: 'GET', upgrade: 'x', headers: [webSocketKey, 'AA=='] }, /HTTP\/2 has no Upgrade/],
    [
      'a WebSocket',
      'http2',
      { method: 'GET', upgrade: 'WebSocket', headers: ['Sec-WebSocket-Key', 'AA=='] },
      undefined,
    ],
    ['a WebSocket without key', 'http2', { method: 'GET', upgrade: 'websocket' }, /by GET with its key/],
    [
      'a WebSocket whose method would be lost',
      'http2',
      { method: 'POST', upgrade: 'websocket', headers: [webSocketKey, 'AA=='] },
      /by GET with its key/,
    ],
  ] as const) {
    test(`${what}: ${expected === undefined ? 'goes on' : 'refused'}`, () => {
      const whole = { headers: [], upgrade: undefined, ...head } as unknown as RequestHead;
      const said = untranslatable('db', protocol, whole);
      if (expected === undefined) assert.equal(said, undefined);
      else assert.match(said ?? '', expected);
    });
  }
});

/** An application of HTTP/1.1 that keeps what came and answers each whole request with the next of `answers`. */
function application1(...answers: readonly string[]) {
  const peers: RawPeer[] = [];
  const server = createServer({ noDelay: true }, (socket: Socket) => {
    const peer = new RawPeer(socket);
    peers.push(peer);
    let answered = 0;
    socket.on('data', () => {
      const whole = peer.text.split(/\r\n\r\n(?:.*0\r\n\r\n)?/s).length - 1;
      for (; answered < whole; answered++)
        peer.send(answers[answered] ?? 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  return { server, seen: () => peers.map(({ text }) => text).join('') };
}

describe('HTTP/2 to a service of HTTP/1.1', () => {
  test('requests one after the other; bodies, answers of any framing, no content and HEAD', async (t) => {
    const { server, seen } = application1(
      'HTTP/1.1 200 OK\r\nX-App: yes\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n',
      'HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nto the end',
    );
    server.on('connection', (socket) => socket.on('data', (bytes) => bytes.includes('/last') && socket.end()));
    const mesh = await startMesh(t, { applications: [server] });
    const client = session(mesh);
    const posted = await ask(
      client,
      { ':method': 'POST', ':path': '/x/../one', te: 'trailers', cookie: ['a=1', 'b=2'] },
      'body',
    );
    assert.deepEqual([posted.status, posted.body, posted.headers['x-app']], [200, 'ok', 'yes']);
    assert.deepEqual([posted.trailers, posted.headers['keep-alive']], [{}, undefined]);
    assert.equal((await ask(client, { ':path': '/two' })).status, 204);
    const head = await ask(client, { ':method': 'HEAD', ':path': '/three' });
    assert.deepEqual([head.status, head.headers['content-length']], [200, '42']);
    const last = await ask(client, { ':path': '/last' });
    assert.deepEqual([last.status, last.body], [404, 'to the end']);
    const source = 'Selvedge-Source: spiffe://mesh.test/ns/default/dc/dc1/svc/web';
    assert.match(seen(), /^POST \/one HTTP\/1\.1\r\nhost: db\r\ncookie: a=1; b=2\r\n/);
    assert.match(seen(), /Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n/);
    assert.equal(seen().split(source).length - 1, 4);
    assert.doesNotMatch(seen(), /^te:|^connection:/im);
  });

  test('an answer that breaks off is a reset; gRPC is refused as gRPC; both at either proxy', async (t) => {
    const { server } = application1('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort');
    server.on('connection', (socket) => socket.on('data', () => socket.end()));
    const mesh = await startMesh(t, { applications: [server] });
    for (const client of [session(mesh), await plainSession(mesh)]) {
      await assert.rejects(ask(client, { ':path': '/' }), /INTERNAL_ERROR/);
      const grpc = await ask(client, {
        ':path': '/shop.Orders/Get',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      assert.equal(grpc.headers['grpc-status'], '13');
      assert.match(String(grpc.headers['grpc-message']), /SLV-4014: db is of protocol http/);
      const wrong = ask(client, { ':method': 'POST', ':path': '/', 'content-length': '9' }, 'short');
      await assert.rejects(wrong, /PROTOCOL_ERROR/);
      const denied = await ask(client, { ':path': '/a%2fb' });
      assert.match(denied.body, /SLV-4011/);
    }
  });
});

describe('HTTP/1.1 to a service of HTTP/2', () => {
  type Serve = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;
  const mesh2 = (t: Parameters<typeof startMesh>[0], serve: Serve) =>
    startMesh(t, { applications: [createHttp2Server().on('stream', serve)], protocol: 'http2' });
  const ways = async (mesh: Mesh) => [
    mesh.dial(),
    mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer),
  ];

  test('keep-alive and pipelining; bodies, no content, HEAD, trailers dropped; at either proxy', async (t) => {
    const mesh = await mesh2(t, (stream, headers) => {
      stream.on('error', () => {});
      const path = headers[':path'];
      if (path === '/none') stream.respond({ ':status': 204, 'content-length': 0 }, { endStream: true });
      else if (path === '/empty') stream.respond({ ':status': 200 }, { endStream: true });
      else if (path === '/head') stream.respond({ ':status': 200, 'content-length': 42 });
      else if (path === '/hint') {
        stream.additionalHeaders({ ':status': 103, link: '</a>' });
        stream.respond({ ':status': 304, 'content-length': 7 });
      } else {
        stream.respond(
          { ':status': 200, 'x-seen': `${headers['content-length']} ${headers['x-a']}` },
          { waitForTrailers: true },
        );
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': '1' }));
        stream.pipe(stream);
        return;
      }
      stream.end();
    });
    for (const peer of await ways(mesh)) {
      const to = (line: string, more = '') => `${line} HTTP/1.1\r\nHost: db\r\n${more}\r\n`;
      peer.send(
        to('POST /echo', 'X-A: 1\r\nContent-Length: 4\r\n') +
          `body${to('POST /echo', 'Transfer-Encoding: chunked\r\n')}3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n` +
          to('GET /none') +
          to('GET /empty') +
          to('HEAD /head') +
          to('GET /hint') +
          to('GET /echo', 'Connection: close\r\n'),
      );
      await peer.untilEnded();
      const answers = peer.text.replaceAll(/date: .*\r\n/g, '');
      const chunked = 'Transfer-Encoding: chunked\r\n';
      assert.equal(
        answers,
        `HTTP/1.1 200 OK\r\nx-seen: 4 1\r\n${chunked}\r\n4\r\nbody\r\n0\r\n\r\n` +
          `HTTP/1.1 200 OK\r\nx-seen: undefined undefined\r\n${chunked}\r\n3\r\nabc\r\n0\r\n\r\n` +
          'HTTP/1.1 204 No Content\r\n\r\n' +
          'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' +
          'HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n' +
          'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n' +
          `HTTP/1.1 200 OK\r\nx-seen: undefined undefined\r\n${chunked}Connection: close\r\n\r\n0\r\n\r\n`,
      );
    }
  });

  test('Upgrade and gRPC are refused, and the connection goes on', async (t) => {
    const mesh = await mesh2(t, (stream) => stream.respond({ ':status': 200 }, { endStream: true }));
    for (const peer of await ways(mesh)) {
      peer.send('GET /chat HTTP/1.1\r\nHost: db\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
      await peer.until('HTTP/2 has no Upgrade');
      peer.send('POST /shop.Orders/Get HTTP/1.1\r\nHost: db\r\nContent-Type: application/grpc\r\n\r\n');
      await peer.until('gRPC is HTTP/2 all the way');
      peer.send('GET / HTTP/1.1\r\nHost: db\r\n\r\n');
      await peer.until('HTTP/1.1 200 ');
      peer.end();
    }
  });
});

test('copies for a mirror of the other version are brought to it by the mirror’s proxy; what can’t be is refused there', async (t) => {
  const seen: string[] = [];
  const listener =
    (version: string) => async (request: Http2ServerRequest | IncomingMessage, answer: { end(): void }) => {
      seen.push(`${version} ${request.method} ${request.url} ${await text(request)}`);
      answer.end();
    };
  const http2 = createHttp2Server(listener('2'));
  const mesh = await startMesh(t, { applications: [createHttpServer(listener('1')), http2] });
  const [one, two] = mesh.instances.map(({ inboundPort }, at) => endpoint(at, inboundPort));
  assert.ok(one !== undefined && two !== undefined);
  const speak = (at: number, protocol: 'http' | 'http2'): void =>
    mesh.feed(mesh.instances[at]?.sidecar ?? assert.fail(), [
      { kind: 'intentions', name: 'db', protocol, defaultAction: 'allow', intentions: [] },
    ]);
  speak(0, 'http');
  speak(1, 'http2');
  const mirror = (protocol: 'http' | 'http2', to: FeedEndpoint, copies: FeedEndpoint): void =>
    mesh.feed(mesh.web, [
      {
        kind: 'upstream',
        name: 'db',
        protocol,
        endpoints: [],
        resilience: {},
        routing: {
          routes: [{ next: 'db' }],
          splitters: {},
          destinations: {
            db: { targets: ['db'], mirror: { destination: 'mirror:db', share: 1 } },
            'mirror:db': { targets: ['copy'] },
          },
          targets: {
            db: { service: 'db', endpoints: [to], resilience: {} },
            copy: { service: 'db', endpoints: [copies], resilience: {} },
          },
        },
      },
    ]);
  const refusals = () => mesh.decisions.filter(({ code }) => code === 'SLV-4014').length;

  mirror('http', one, two);
  const post = 'POST /from-1 HTTP/1.1\r\nHost: db\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody';
  assert.equal((await mesh.ask(post)).status, 200);
  await waitFor('the copy', () => seen.length === 2);
  assert.deepEqual(seen.splice(0).sort(), ['1 POST /from-1 body', '2 POST /from-1 body']);

  mirror('http2', two, one);
  const client = session(mesh);
  assert.equal((await ask(client, { ':method': 'POST', ':path': '/from-2' }, 'body')).status, 200);
  await waitFor('the copy', () => seen.length === 2);
  assert.deepEqual(seen.splice(0).sort(), ['1 POST /from-2 body', '2 POST /from-2 body']);
  assert.equal(refusals(), 0);
  const grpc = { ':method': 'POST', ':path': '/grpc', 'content-type': 'application/grpc', te: 'trailers' };
  assert.equal((await ask(client, grpc, 'body')).status, 200);
  await waitFor('the refusal of the copy', () => refusals() === 1);
  assert.deepEqual(seen, ['2 POST /grpc body']);
});
