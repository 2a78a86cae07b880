import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { systemRandomBytes } from '#runtime/clock.ts';
import { dialTlsPeer, RawPeer } from '#test/raw-client.ts';
import { intention, type Mesh, startMesh, vanish } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { type ByteStream, idleHandlers } from './byte-stream.ts';
import { HttpServerStream } from './http-server-stream.ts';
import { cut } from './http1/recorder.ts';
import { IdleSweep } from './idle-sweep.ts';

/**
 * HTTP/1.1 through both proxies, as callers and applications really speak it.
 * In one file: every scene is of one class, through the same mesh.
 */

const web = (listener: RequestListener): { applications: Server[] } => ({ applications: [createServer(listener)] });

/** An application by hand: `talk` gets each connection. */
const byHand = (talk: (peer: RawPeer, socket: Socket) => void): { applications: Server[] } => ({
  applications: [
    createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => talk(new RawPeer(socket), socket)),
  ],
});

/** Sends one piece after the other. */
async function written(peer: RawPeer, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    peer.send(piece);
    await new Promise((resume) => setImmediate(resume));
  }
}

/** Waits until a number is the same in three looks. */
async function standsStill(who: string, read: () => number): Promise<void> {
  const seen: number[] = [];
  await waitFor(
    `${who} to stop`,
    () => {
      seen.push(read());
      return seen.length > 3 && new Set(seen.slice(-3)).size === 1;
    },
    10_000,
  );
}

/** Answers every head that comes with the same bytes, whatever the request. */
const answering = (answer: string) =>
  byHand((peer, socket) => {
    let answered = 0;
    socket.on('data', () => {
      const heads = peer.text.split('\r\n\r\n').length - 1;
      for (; answered < heads; answered++) peer.send(answer);
    });
  });

const echo: RequestListener = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    response.setHeader('X-Seen', `${request.method} ${request.url} ${body.length}`);
    response.end(body);
  });
};

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: db\r\n${more}\r\n`;
const closing = 'Connection: close\r\n';

describe('answers', () => {
  for (const [name, method, answer, expected] of [
    ['a length', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', /\r\nContent-Length: 2\r\n.*\r\n\r\nhi$/s],
    [
      'chunks',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
      /chunked\r\n.*\r\n\r\n2\r\nhi\r\n0\r\n\r\n$/s,
    ],
    [
      'HEAD with a length',
      'HEAD',
      'HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n',
      /\r\nContent-Length: 2000\r\n.*\r\n\r\n$/s,
    ],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', /^HTTP\/1\.1 204 .*\r\n\r\n$/s],
    [
      '304 with a length',
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n',
      /^HTTP\/1\.1 304 .*Content-Length: 9\r\n.*\r\n\r\n$/s,
    ],
    [
      'an early hint',
      'GET',
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      /^HTTP\/1\.1 103 .*Link: <\/a>.*HTTP\/1\.1 200 /s,
    ],
    [
      'hundreds of headers',
      'GET',
      `HTTP/1.1 200 OK\r\n${'Set-Cookie: a=b\r\n'.repeat(900)}Content-Length: 0\r\n\r\n`,
      /^HTTP\/1\.1 200 OK\r\n(?:Set-Cookie: a=b\r\n){900}/,
    ],
    [
      'claims of the mesh',
      'GET',
      'HTTP/1.1 200 OK\r\nSelvedge-Decision: x\r\nselvedge-reached: no\r\nX-Selvedge-A: b\r\nContent-Length: 0\r\n\r\n',
      /^(?!.*selvedge).*$/is,
    ],
  ] as const) {
    test(name, async (t) => {
      const mesh = await startMesh(t, answering(answer));
      const client = mesh.dial().send(`${method} / HTTP/1.1\r\nHost: db\r\n${closing}\r\n`);
      await client.untilEnded();
      assert.match(client.text, expected);
      assert.match(client.text, /\r\nConnection: close\r\n/);
    });
  }

  test('a body that ends with the connection goes on as chunks, and the caller keeps its connection', async (t) => {
    const mesh = await startMesh(
      t,
      byHand((peer) => void peer.until('\r\n\r\n').then(() => peer.send('HTTP/1.0 200 OK\r\n\r\nabc').end())),
    );
    const client = mesh.dial().send(get('/1'));
    await client.until('3\r\nabc\r\n0\r\n\r\n');
    client.send(get('/2', closing));
    await client.untilEnded();
    assert.equal(client.text.split('200 OK').length, 3);
  });

  test('to HTTP/1.0 nothing is chunked, and it gets a Host', async (t) => {
    const mesh = await startMesh(
      t,
      web((request, response) => response.end(request.headers.host)),
    );
    const client = await mesh.ask('GET / HTTP/1.0\r\n\r\n');
    assert.match(client.text, /\r\nConnection: close\r\n\r\ndb$/);
    const named = await mesh.ask('GET http://db.mesh:81/ HTTP/1.0\r\n\r\n');
    assert.match(named.text, /db\.mesh:81$/);
  });

  test('a head does not wait for the body behind it', async (t) => {
    const mesh = await startMesh(
      t,
      web((_, response) => response.flushHeaders()),
    );
    const client = mesh.dial().send(get('/events'));
    await client.until('200 OK', '\r\n\r\n');
  });

  test('100 Continue is said once, by the mesh', async (t) => {
    const mesh = await startMesh(t, web(echo));
    const client = mesh
      .dial()
      .send(`POST / HTTP/1.1\r\nHost: db\r\nContent-Length: 3\r\nExpect: 100-continue\r\n${closing}\r\n`);
    await client.until('100 Continue');
    client.send('abc');
    await client.untilEnded();
    assert.match(client.text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n.*abc$/s);
  });

  test('an answer that breaks off breaks the connection; nothing is made up', async (t) => {
    const mesh = await startMesh(
      t,
      byHand(
        (peer, socket) =>
          void peer.until('\r\n\r\n').then(() => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc')),
      ),
    );
    const client = mesh.dial().send(get('/'));
    await client.untilTrue('the cut', () => client.closed);
    assert.ok(client.text.endsWith('\r\n\r\nabc'));
  });

  for (const way of ['through both proxies', 'straight at the inbound one'] as const) {
    test(`bytes behind an answer are never the answer to the next request (${way})`, async (t) => {
      const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison';
      let connections = 0;
      const mesh = await startMesh(
        t,
        byHand((peer) => {
          connections += 1;
          void peer
            .until('\r\n\r\n')
            .then(() => peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood${poison}`));
        }),
      );
      const client =
        way === 'through both proxies'
          ? mesh.dial()
          : mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer);
      client.send(get('/1') + get('/2') + get('/3', closing));
      await client.untilEnded();
      assert.equal(client.text.split('good').length, 4);
      assert.ok(!client.text.includes('poison'));
      assert.equal(connections, 3);
    });
  }
});

describe('requests', () => {
  test('a length, and chunks, both of several megabytes, both ways', async (t) => {
    const mesh = await startMesh(t, web(echo));
    const body = Buffer.alloc(3_000_000, 'abcdefghij');
    const chunks = Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')]);
    const straight = async () => mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer);
    for (const [head, sent, peer] of [
      [`Content-Length: ${body.length}\r\n`, body, mesh.dial()],
      ['Transfer-Encoding: chunked\r\n', chunks, mesh.dial()],
      ['Transfer-Encoding: chunked\r\n', chunks, await straight()],
    ] as const) {
      const client = peer.send(`PUT / HTTP/1.1\r\nHost: db\r\n${closing}${head}\r\n`).send(sent);
      await client.untilEnded();
      assert.match(client.text, /X-Seen: PUT \/ 3000000\r\n/);
      assert.ok(client.bytes.subarray(-body.length).equals(body));
    }
  });

  test('who calls is said by us alone', async (t) => {
    const mesh = await startMesh(
      t,
      web((request, response) => response.end(request.rawHeaders.join('\n'))),
    );
    const client = await mesh.ask(
      get(
        '/',
        `${closing}Selvedge-Source: spiffe://evil/x\r\nX-Selvedge-Role: admin\r\nX-Forwarded-Client-Cert: By=x;URI=y\r\nX-Own: kept\r\n`,
      ),
    );
    const seen = client.text.split('\r\n\r\n')[1] ?? '';
    assert.equal(
      seen,
      [
        ...['Host', 'db', 'X-Own', 'kept', 'Selvedge-Source', 'spiffe://mesh.test/ns/default/dc/dc1/svc/web'],
        'X-Forwarded-Client-Cert',
        'By=spiffe://mesh.test/ns/default/dc/dc1/svc/db;URI=spiffe://mesh.test/ns/default/dc/dc1/svc/web',
      ].join('\n'),
    );
  });

  test('pipelined ones are answered in order', async (t) => {
    const mesh = await startMesh(t, web(echo));
    const posts = [0, 1, 2, 3].map(
      (n) => `POST /${n} HTTP/1.1\r\nHost: db\r\nContent-Length: ${n}\r\n\r\n${'x'.repeat(n)}`,
    );
    const client = mesh.dial().send(posts.join('') + get('/4', closing));
    await client.untilEnded();
    const seen = [...client.text.matchAll(/X-Seen: (.*)\r\n/g)].map(([, what]) => what);
    assert.deepEqual(seen, ['POST /0 0', 'POST /1 1', 'POST /2 2', 'POST /3 3', 'GET /4 0']);
  });

  test('one pipelined behind a large body waits for its answer, however the body drains', async (t) => {
    const size = 8_000_000;
    const mesh = await startMesh(
      t,
      web((request, response) => {
        // Slow enough for every buffer on the way to fill and to drain again.
        let length = 0;
        request.on('data', (chunk: Buffer) => {
          length += chunk.length;
          request.pause();
          setImmediate(() => request.resume());
        });
        request.on('end', () => setTimeout(() => response.end(`${request.url} ${length};`), 30));
      }),
    );
    const client = mesh.dial();
    client.send(`POST /large HTTP/1.1\r\nHost: db\r\nContent-Length: ${size}\r\n\r\n`);
    client.send(Buffer.concat([Buffer.alloc(size, 'x'), Buffer.from(get('/next', closing))]));
    await client.untilEnded();
    assert.match(client.text, new RegExp(`/large ${size};.*/next 0;`, 's'));
  });

  test('a caller that half-closes gets the answers to all that it sent', async (t) => {
    const mesh = await startMesh(
      t,
      web((request, response) => void setTimeout(() => response.end(`${request.url};`), 5)),
    );
    const client = mesh
      .dial()
      .send(get('/1') + get('/2') + get('/3'))
      .end();
    await client.untilEnded();
    assert.match(client.text, /\/1;.*\/2;.*\/3;/s);
    await client.untilTrue('the end of it', () => client.closed);
  });

  test('behind the answer that ends a connection nothing more is served', async (t) => {
    const seen: string[] = [];
    const mesh = await startMesh(
      t,
      web((request, response) => {
        seen.push(String(request.url));
        response.end();
      }),
    );
    const bad = (headers: string, body: string): string =>
      `POST /%2f HTTP/1.1\r\nHost: db\r\n${headers}\r\n\r\n${body}`;
    for (const first of [
      bad('Transfer-Encoding: chunked\r\nConnection: close', '3\r\nabc\r\n0\r\n\r\n'),
      bad('Transfer-Encoding: chunked', '3\r\nabc\r\nno size\r\n'),
      bad('Content-Length: 262145', 'abc'),
    ]) {
      const client = await mesh.ask(first + get('/smuggled') + get('/again'));
      assert.equal(client.status, 400);
      assert.equal(client.text.split('HTTP/1.1').length, 2);
      assert.deepEqual(seen, []);
    }
    const ended = await mesh.ask(get('/1', closing) + get('/2'));
    assert.equal(ended.text.split('200 OK').length, 2);
    assert.deepEqual(seen, ['/1']);
  });

  test('one that is refused keeps its connection where all of it has come, and its head is well-formed', async (t) => {
    const mesh = await startMesh(t, web(echo));
    const post = (headers: string, body = '', path = '/%2f') =>
      `POST ${path} HTTP/1.1\r\nHost: db\r\n${headers}\r\n${body}`;
    const smuggled = get('/smuggled');
    for (const [refused, goesOn] of [
      [get('/%2f'), true],
      [post('Content-Length: 0\r\n'), true],
      [post(`Content-Length: ${smuggled.length}\r\n`, smuggled), true],
      [post(`${closing}Content-Length: 0\r\n`), false],
      [post('Expect: 100-continue\r\nContent-Length: 99\r\n'), false],
      [post('Content-Length: 262145\r\n', 'abc'), false],
      [post('Content-Length: 0\r\nContent-Length: 1\r\n', '', '/'), false],
      [post('Content_Length: 1\r\nContent-Length: 0\r\n', '', '/'), false],
    ] as const) {
      for (const port of ['outbound', 'inbound'] as const) {
        const { peer } =
          port === 'outbound' ? { peer: mesh.dial() } : await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current);
        mesh.keep(peer).send(refused + get('/next', closing));
        await peer.untilEnded();
        const [head = ''] = peer.text.split('\r\n\r\n');
        assert.match(
          head,
          goesOn ? /^HTTP\/1\.1 400 (?!.*Connection: close)/s : /^HTTP\/1\.1 400 .*Connection: close/s,
          refused,
        );
        assert.deepEqual(peer.text.match(/X-Seen: .*(?=\r)/g), goesOn ? ['X-Seen: GET /next 0'] : null, refused);
      }
    }
  });

  describe('one answered before it was whole', () => {
    const early = web((request, response) => response.end(request.method === 'POST' ? 'early' : 'fine'));
    const post = (framing: string, body: string): string => `POST / HTTP/1.1\r\nHost: db\r\n${framing}\r\n\r\n${body}`;
    const chunked = 'Transfer-Encoding: chunked';
    const long = 'x'.repeat(100_000);

    for (const [name, begins, rest] of [
      ['of a length', post('Content-Length: 100004', 'some'), long],
      ['in chunks', post(chunked, '4\r\nsome\r\n'), `186a0\r\n${long}\r\n0\r\n\r\n`],
    ] as const) {
      test(`${name}: its rest is dropped, and the next is served on its connection`, async (t) => {
        const mesh = await startMesh(t, early);
        const client = mesh.dial().send(begins);
        await client.until('early');
        for (const piece of [rest.slice(0, 3), rest.slice(3, 50_000), rest.slice(50_000)]) client.send(piece);
        client.send(get('/', closing));
        await client.until('fine');
        assert.equal(client.text.split('HTTP/1.1 200 OK').length, 3);
      });
    }

    for (const [name, begins, rest] of [
      ['of a length that is too much to drop', post('Content-Length: 262145', 'some'), ''],
      ['in more chunks than are dropped', post(chunked, '4\r\nsome\r\n'), `40001\r\n${'x'.repeat(262_145)}`],
      ['whose rest is malformed', post(chunked, '4\r\nsome\r\n'), 'not a chunk\r\n'],
      ['by who asked whether to send it', post('Expect: 100-continue\r\nContent-Length: 262145', ''), ''],
    ] as const) {
      test(`${name}: its connection ends, without another answer, and no other does`, async (t) => {
        const mesh = await startMesh(t, early);
        const client = mesh.dial().send(begins);
        await client.until('early');
        client.send(rest);
        await client.untilEnded();
        assert.equal(client.text.match(/HTTP\/1\.1 (?!100)/g)?.length, 1);
        assert.match((await mesh.ask(get('/', closing))).text, /fine$/);
      });
    }

    test('its rest is waited for until 30 s are over, whatever comes of it', async (t) => {
      const mesh = await startMesh(t, early);
      const slow = [mesh.dial(), mesh.dial()].map((client) => client.send(post('Content-Length: 100000', 'some')));
      for (const client of slow) await client.until('early');
      for (let second = 0; second < 29; second += 1) {
        slow[0]?.send('x');
        mesh.pass(1_000);
      }
      assert.deepEqual(
        slow.map(({ ended }) => ended),
        [false, false],
      );
      mesh.pass(2_000);
      for (const client of slow) await client.untilEnded();
    });
  });

  test('an idle connection ends with its time, one at work in the body stays', async (t) => {
    const mesh = await startMesh(t, { ...web(echo), resilience: { idleTimeoutMs: 60_000 } });
    const idle = mesh.dial().send(get('/'));
    await idle.until('200 OK');
    const busy = mesh.dial().send('POST / HTTP/1.1\r\nHost: db\r\nContent-Length: 2\r\n\r\na');
    await waitFor('the request to be under way', () => mesh.upstream.inFlight === 1);
    mesh.pass(50_000); // the touches of just now
    busy.send('b');
    await busy.until('\r\n\r\nab');
    mesh.pass(50_000);
    mesh.pass(10_000);
    await idle.untilEnded();
    assert.equal(busy.closed, false);
  });

  test('a head has ten seconds from its first byte on, however it trickles; an idle connection has longer', async (t) => {
    const mesh = await startMesh(t, web(echo));
    const idle = mesh.dial().send(get('/'));
    await idle.until('X-Seen: GET / 0');
    const begin = async () => {
      const guards = mesh.sweep.size;
      const peer = mesh.dial().send('GET /slow HT');
      await waitFor('its head to have begun', () => mesh.sweep.size === guards + 2);
      return peer;
    };
    const [slow, inTime] = [await begin(), await begin()];
    mesh.pass(6_000);
    slow.send('TP/1.1\r\nHost: ');
    await inTime.send('TP/1.1\r\nHost: db\r\n\r\n').until('X-Seen: GET /slow 0');
    mesh.pass(6_000);
    await slow.until('HTTP/1.1 408 ', 'SLV-4213');
    await slow.untilEnded();
    assert.equal(mesh.decisions[0]?.code, 'SLV-4213');
    for (const peer of [idle, inTime]) await peer.send(get('/again')).until('X-Seen: GET /again 0');
  });

  test('a connection that lingers ends, whatever its caller sends', async (t) => {
    const mesh = await startMesh(t, web(echo));
    const client = mesh.dial().send(get('/%2f', '').replace('GET', 'BAD BAD'));
    await client.until('400 ');
    await client.untilEnded();
    for (let round = 0; round < 3; round++) {
      client.send('more and more');
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve)); // it arrives
      mesh.pass(1_000);
    }
    const edge = mesh.traffic.edge('outbound', 'web', 'db');
    await waitFor('its end', () => edge.openConnections.value === 0, 900); // less than the real sweep would take
  });
});

/** A server's side on a stream that notes how it is ended, and whose requests are all refused, each once it is whole. */
function refusing() {
  const ends: string[] = [];
  const now = { ms: 0 };
  const sweep = new IdleSweep(() => now.ms);
  const stream: ByteStream = {
    handlers: idleHandlers,
    flushed: false,
    write: () => false,
    end: () => ends.push('end'),
    close: () => ends.push('close'),
    destroy: () => ends.push('destroy'),
    reset() {},
    pause() {},
    resume() {},
  };
  const server: HttpServerStream = new HttpServerStream(
    stream,
    { sweep, serving: new Set(), randomBytes: systemRandomBytes, draining: () => false },
    60_000,
    () => ({
      onRequest() {},
      onRequestBody() {},
      onRequestWhole: () => server.error({ status: 400, code: 'SLV-4011', reason: 'no' }, undefined),
      onRequestRefused: () => '',
      onAnswerDrain() {},
      onAnswered() {},
      onClosed() {},
    }),
  );
  return { stream, ends, now, sweep };
}

test('an answer that is on its way to a slow reader is not taken back when the connection ends', () => {
  const { stream, ends, now, sweep } = refusing();
  stream.handlers.onData(Buffer.from(get('/', closing)));
  now.ms = 5_000;
  sweep.sweep();
  assert.deepEqual(ends, ['close']);
  now.ms = 65_000;
  sweep.sweep();
  assert.deepEqual(ends, ['close', 'destroy']);
  sweep.close();
});

test('only who has said that nothing follows, and sent nothing, is not waited for behind the last answer', () => {
  for (const [sent, end] of [
    [get('/', closing), 'close'],
    [get('/').replace('1.1', '1.0'), 'close'],
    [`${get('/', closing)}more`, 'end'],
    ['GET\r\n\r\n', 'end'],
  ] as const) {
    const { stream, ends, sweep } = refusing();
    stream.handlers.onData(Buffer.from(sent));
    assert.deepEqual(ends, [end], sent);
    sweep.close();
  }
});

describe('back-pressure', () => {
  /** What may stand in buffers on the way: the tunnel's stream window, its sender, sockets and kernel buffers. */
  const mostOnTheWay = 32_000_000;

  for (const framing of ['length', 'chunked'] as const) {
    test(`a client that does not read stops the application (${framing})`, async (t) => {
      const size = 64_000_000;
      let written = 0;
      const mesh = await startMesh(
        t,
        web((_, response) => {
          if (framing === 'length') response.setHeader('Content-Length', size);
          const piece = Buffer.alloc(10_000, 'y');
          const more = () => {
            while (written < size) {
              written += piece.length;
              if (!response.write(piece)) return;
            }
            response.end();
          };
          response.on('drain', more);
          more();
        }),
      );
      const client = mesh.dial().send(get('/', closing));
      await client.until('200 OK');
      client.socket.pause();
      await standsStill('the application', () => written);
      assert.ok(written < mostOnTheWay, `${written} bytes on the way`);
      // A client that reads in fits and starts gets it all.
      let most = 0;
      const fits = setInterval(() => {
        most = Math.max(most, written - client.length);
        client.socket.resume();
        setImmediate(() => client.length < size && client.socket.pause());
      }, 2);
      await client.untilTrue('all of it', () => client.length > size, 30_000).finally(() => clearInterval(fits));
      client.socket.resume();
      await client.untilEnded();
      assert.ok(most < mostOnTheWay, `${most} bytes on the way to a slow reader`);
      if (framing === 'length') assert.equal(client.length - (client.bytes.indexOf('\r\n\r\n') + 4), size);
    });
  }

  test('an application that does not read stops the client', async (t) => {
    const size = 64_000_000;
    let read: (() => void) | undefined;
    const mesh = await startMesh(
      t,
      web((request, response) => {
        request.once('readable', () => {});
        read = () => void request.on('data', () => {}).on('end', () => response.end('done'));
      }),
    );
    const client = mesh.dial().send(`PUT / HTTP/1.1\r\nHost: db\r\n${closing}Content-Length: ${size}\r\n\r\n`);
    const piece = Buffer.alloc(100_000, 'z');
    let sent = 0;
    const more = () => {
      while (sent < size) {
        sent += piece.length;
        if (!client.socket.write(piece)) return;
      }
    };
    client.socket.on('drain', more);
    more();
    await waitFor('the request', () => read !== undefined);
    await standsStill('the client', () => sent);
    assert.ok(sent < mostOnTheWay, `${sent} bytes on the way`);
    read?.();
    await client.untilTrue('the answer', () => client.text.endsWith('done'), 20_000);
  });
});

describe('an upgrade', () => {
  const chat = byHand((peer, socket) => {
    let switched = false;
    socket.on('data', (chunk) => {
      if (switched) peer.send(chunk.toString().toUpperCase());
      else if (peer.text.endsWith('\r\n\r\n')) {
        switched = true;
        peer.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nwelcome ');
      }
    });
    socket.on('end', () => socket.end(' bye'));
  });
  const ask = get('/', 'Connection: Upgrade\r\nUpgrade: chat\r\n');

  test('carries bytes both ways and half-close, and gives all back', async (t) => {
    const mesh = await startMesh(t, chat);
    const client = mesh.dial().send(ask);
    await client.until('101 Switching', 'Upgrade: chat\r\n', '\r\n\r\nwelcome ');
    client.send('hello');
    await client.until('HELLO');
    assert.equal(mesh.upstream.inFlight, 1);
    client.end();
    await client.untilEnded();
    assert.match(client.text, /HELLO bye$/);
    await waitFor('all to be given back', () => mesh.settled);
    assert.equal(mesh.upstream.inFlight, 0);
  });

  for (const way of ['through both proxies', 'straight at the inbound one'] as const) {
    const large = 'x'.repeat(3_000_000);
    const call = async (mesh: Mesh): Promise<RawPeer> => {
      if (way === 'through both proxies') return mesh.dial();
      return mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer);
    };

    test(`whoever ends first still hears all that the other says (${way})`, async (t) => {
      const heard: RawPeer[] = [];
      const mesh = await startMesh(
        t,
        byHand((peer, socket) => {
          heard.push(peer);
          void peer.until('\r\n\r\n').then(() => {
            peer.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n');
            if (peer.text.startsWith('GET /leaves ')) peer.send(`last words ${large}`).end();
            else socket.on('end', () => peer.send(`last words ${large}`).end());
          });
        }),
      );
      const leaving = await call(mesh);
      leaving.send(ask.replace('/', '/leaves'));
      await leaving.untilTrue('the end of the application', () => leaving.ended);
      assert.ok(leaving.text.endsWith(`last words ${large}`));
      assert.equal(leaving.closed, false);
      leaving.send('one more thing, ').send(large).end();
      await waitFor('the application to hear it', () => heard[0]?.ended);
      assert.ok(heard[0]?.text.endsWith(`\r\n\r\none more thing, ${large}`));

      const staying = await call(mesh);
      staying.send(ask.replace('/', '/stays'));
      await staying.until('101 Switching');
      staying.send(large).end();
      await staying.untilTrue('the end of the application', () => staying.ended);
      assert.ok(staying.text.endsWith(`last words ${large}`));
      assert.ok(heard[1]?.text.endsWith(`\r\n\r\n${large}`));
      await waitFor('all to be given back', () => mesh.settled && mesh.applicationConnections === 0);
    });

    test(`what stands behind its head is the other protocol’s, to the byte, in whatever pieces (${way})`, async (t) => {
      /** What the application says once it has switched, and what it has heard. */
      let pieces: readonly Buffer[] = [];
      const heard: RawPeer[] = [];
      const mesh = await startMesh(
        t,
        byHand((peer, socket) => {
          heard.push(peer);
          const said = peer.until('\r\n\r\n').then(() => written(peer, pieces));
          socket.on('end', () => void said.then(() => socket.end()));
        }),
      );
      const bytes = fc.array(
        fc.oneof(
          fc.constantFrom(get('/smuggled'), 'HTTP/1.1 200 OK\r\n\r\n', '0\r\n\r\n'),
          fc.string({ unit: 'binary-ascii' }),
        ),
      );
      const places = fc.array(fc.nat(300), { maxLength: 3 });
      await fc.assert(
        fc.asyncProperty(bytes, places, bytes, places, async (asked, askedCuts, answered, answeredCuts) => {
          const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n';
          pieces = cut(switching + answered.join(''), answeredCuts);
          heard.length = 0;
          const client = await call(mesh);
          await written(client, cut(ask + asked.join(''), askedCuts));
          client.end();
          await client.untilEnded();
          assert.equal(client.text, switching + answered.join(''));
          const [application, ...others] = heard;
          await waitFor('the application to have heard all', () => application?.ended === true);
          assert.equal(application?.text.replace(/^.*?\r\n\r\n/s, ''), asked.join(''));
          assert.equal(others.length, 0);
        }),
        { seed: 20261130, numRuns: 25 },
      );
    });
  }

  test('what stands behind one that is not taken is a request like any other', async (t) => {
    const mesh = await startMesh(t, answering('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno'));
    mesh.feedIntentions([intention({ source: 'web', permissions: [{ action: 'allow', http: { pathExact: '/' } }] })]);
    const client = mesh.dial().send(ask + get('/smuggled', closing));
    await client.untilEnded();
    assert.deepEqual(client.text.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 403']);
  });

  test('an answer other than 101 is an answer like any other', async (t) => {
    const mesh = await startMesh(t, answering('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno'));
    const client = mesh.dial().send(ask);
    await client.until('200 OK', '\r\n\r\nno');
    client.send(get('/', closing));
    await client.untilEnded();
  });

  test('a 101 that nobody asked for is refused', async (t) => {
    const mesh = await startMesh(
      t,
      answering('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n'),
    );
    const client = await mesh.ask(`POST / HTTP/1.1\r\nHost: db\r\n${closing}Content-Length: 0\r\n\r\n`);
    assert.equal(client.status, 502);
  });

  test('the caller that vanishes takes it down', async (t) => {
    const mesh = await startMesh(t, chat);
    const client = mesh.dial().send(ask);
    await client.until('welcome');
    vanish(client.socket);
    await waitFor('the application to be let go', () => mesh.applicationConnections === 0);
  });
});

describe('draining', () => {
  test('idle connections end now, what is under way is answered and told to close', async (t) => {
    let answer: (() => void) | undefined;
    const mesh = await startMesh(
      t,
      web((request, response) => {
        if (request.url === '/slow') answer = () => void response.end('at last');
        else response.end('quick');
      }),
    );
    const idle = mesh.dial().send(get('/'));
    await idle.until('quick');
    const dropped = mesh.dial().send('POST / HTTP/1.1\r\nHost: db\r\nContent-Length: 100\r\n\r\n');
    await dropped.until('quick');
    const busy = mesh.dial().send(get('/slow'));
    await waitFor('the slow request', () => answer !== undefined);
    mesh.web.drain();
    mesh.db.sidecar.drain();
    for (const client of [idle, dropped]) {
      await client.untilEnded();
      client.end();
    }
    assert.equal(busy.ended, false);
    answer?.();
    await busy.untilEnded();
    busy.end();
    assert.match(busy.text, /Connection: close\r\n.*at last$/s);
    await waitFor('both to be drained', () => mesh.web.drained && mesh.db.sidecar.drained);
  });
});
