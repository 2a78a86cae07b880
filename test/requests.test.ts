import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { dialTlsPeer, RawPeer } from './raw-client.ts';
import { Mesh } from './sidecars.ts';
import { waitFor } from './wait-for.ts';

/**
 * Requests that two parsers could read in two ways, through both proxies and straight at the inbound one: a clear 4xx or one canonical reading, and not a byte of
 * anything else reaches the application, which writes down all that it gets. All the while another connection goes on.
 */

const host = 'Host: db\r\n';
/** The length of these is plain, so without it the connection would go on. */
const closing = 'Connection: close\r\n';

/** Refused: the status, and what is sent. */
const refused: readonly (readonly [name: string, status: number, bytes: string])[] = [
  [
    'Content-Length and Transfer-Encoding',
    400,
    `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  [
    'Transfer-Encoding and Content-Length',
    400,
    `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
  ],
  ['two lengths', 400, `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`],
  ['the same length twice', 400, `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd`],
  ['a list of lengths', 400, `POST / HTTP/1.1\r\n${host}Content-Length: 4, 4\r\n\r\nabcd`],
  ['a signed length', 400, `POST / HTTP/1.1\r\n${host}Content-Length: +4\r\n\r\nabcd`],
  ['a blank before the colon', 400, `POST / HTTP/1.1\r\n${host}Content-Length : 4\r\n\r\nabcd`],
  ['a coding in disguise', 400, `POST / HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ['two codings', 400, `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['a coding with a vertical tab', 400, `POST / HTTP/1.1\r\n${host}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n`],
  ['chunks in HTTP/1.0', 400, `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['a bare line feed', 400, `GET / HTTP/1.1\nHost: db\n\n`],
  ['a bare line feed in a header', 400, `GET / HTTP/1.1\r\n${host}A: b\nSelvedge-Source: x\r\n\r\n`],
  ['a bare carriage return', 400, `GET / HTTP/1.1\r\n${host}A: b\rSelvedge-Source: x\r\n\r\n`],
  ['a folded header', 400, `GET / HTTP/1.1\r\n${host}A: b\r\n c: d\r\n\r\n`],
  ['NUL in a value', 400, `GET / HTTP/1.1\r\n${host}A: b\0c\r\n\r\n`],
  ['NUL in the target', 400, `GET /a\0b HTTP/1.1\r\n${host}\r\n`],
  ['an underscore in a name', 400, `GET / HTTP/1.1\r\n${host}Selvedge_Source: x\r\n\r\n`],
  ['Connection that drops the identity', 400, `GET / HTTP/1.1\r\n${host}Connection: selvedge-source\r\n\r\n`],
  ['no Host', 400, 'GET / HTTP/1.1\r\n\r\n'],
  ['two Hosts', 400, `GET / HTTP/1.1\r\n${host}Host: other\r\n\r\n`],
  ['a Host with a path', 400, 'GET / HTTP/1.1\r\nHost: db/x\r\n\r\n'],
  ['a target of another host', 400, `GET http://other/ HTTP/1.1\r\n${host}\r\n`],
  ['an encoded slash', 400, `GET /a%2fb HTTP/1.1\r\n${host}${closing}\r\n`],
  ['an encoded backslash', 400, `GET /a%5cb HTTP/1.1\r\n${host}${closing}\r\n`],
  ['a backslash', 400, `GET /a\\..\\b HTTP/1.1\r\n${host}${closing}\r\n`],
  ['a fragment', 400, `GET /a#b HTTP/1.1\r\n${host}${closing}\r\n`],
  ['a climb above the root', 400, `GET /../etc HTTP/1.1\r\n${host}${closing}\r\n`],
  ['an encoded climb above the root', 400, `GET /%2e%2e/etc HTTP/1.1\r\n${host}${closing}\r\n`],
  ['dots with a parameter', 400, `GET /a/..;x=1/b HTTP/1.1\r\n${host}${closing}\r\n`],
  ['an escape within an escape', 400, `GET /%252e%252e/a HTTP/1.1\r\n${host}${closing}\r\n`],
  ['an escape that is none', 400, `GET /%zz HTTP/1.1\r\n${host}${closing}\r\n`],
  ['an encoded control', 400, `GET /a%0d%0aSelvedge-Source:%20x HTTP/1.1\r\n${host}${closing}\r\n`],
  ['a raw byte', 400, `GET /\xe9 HTTP/1.1\r\n${host}${closing}\r\n`],
  ['a relative target', 400, `GET admin HTTP/1.1\r\n${host}\r\n`],
  ['two spaces', 400, `GET  / HTTP/1.1\r\n${host}\r\n`],
  ['another version', 505, `GET / HTTP/1.2\r\n${host}\r\n`],
  ['CONNECT', 501, `CONNECT db:80 HTTP/1.1\r\n${host}\r\n`],
  ['TRACE', 501, `TRACE / HTTP/1.1\r\n${host}\r\n`],
  ['another expectation', 417, `GET / HTTP/1.1\r\n${host}Expect: miracles\r\n\r\n`],
  ['too long a target', 414, `GET /${'a'.repeat(9_000)} HTTP/1.1\r\n${host}\r\n`],
  ['too long a head', 431, `GET / HTTP/1.1\r\n${host}A: ${'b'.repeat(40_000)}\r\n\r\n`],
  ['too many headers', 431, `GET / HTTP/1.1\r\n${host}${'A: b\r\n'.repeat(200)}\r\n`],
  ['a handshake of TLS', 400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
];

/** Refused within the body: the head has been forwarded by then, the request is never completed. */
const refusedWithin: readonly (readonly [name: string, body: string])[] = [
  ['a chunk size that is none', 'xyz\r\nabc\r\n0\r\n\r\n'],
  ['a chunk size with 0x', '0x3\r\nabc\r\n0\r\n\r\n'],
  ['a negative chunk size', '-3\r\nabc\r\n0\r\n\r\n'],
  ['a chunk longer than said', '3\r\nabcdef\r\n0\r\n\r\n'],
  ['a chunk that ends with a line feed', '3\nabc\r\n0\r\n\r\n'],
  ['a huge chunk size', 'ffffffffffffffffff\r\n'],
  ['a trailer with a bare line feed', '0\r\nA: b\nC: d\r\n\r\n'],
  ['long chunk extensions', `3;${'e'.repeat(9_000)}\r\nabc\r\n0\r\n\r\n`],
];

/** Forwarded in one reading: the request line that the application gets. */
const canonical: readonly (readonly [target: string, line: string])[] = [
  ['/a//b', '/a/b'],
  ['//a', '/a'],
  ['/a/./b/../c', '/a/c'],
  ['/%61dmin', '/admin'],
  ['/a%2Eb', '/a.b'],
  ['/a/%2e%2e/b', '/b'],
  ['/a;v=1/b', '/a;v=1/b'],
  ['/a%c3%a9', '/a%C3%A9'],
  ['http://db/x?y=/../z', '/x?y=/../z'],
  ['HTTP://DB:80/x', '/x'],
  ['/?q=%2f%00', '/?q=%2f%00'],
];

for (const way of ['through both proxies', 'straight at the inbound one'] as const) {
  describe(way, () => {
    let mesh: Mesh;
    const got: RawPeer[] = [];
    let good: RawPeer;
    let goodAnswers = 0;

    before(async () => {
      const application = createServer({ noDelay: true }, (socket: Socket) => {
        const peer = new RawPeer(socket);
        got.push(peer);
        let answered = 0;
        socket.on('data', () => {
          const heads = peer.text.split('\r\n\r\n').length - 1;
          for (; answered < heads; answered++) peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        });
      });
      mesh = new Mesh({ applications: [application] });
      await mesh.start();
      good = await open();
    });
    after(() => mesh.close());

    const open = async (): Promise<RawPeer> => {
      if (way === 'through both proxies') return mesh.dial();
      return mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer);
    };
    /** What the application has got since the last call, without the good client's. */
    const received = (): string => {
      const text = got.map((peer) => peer.text).join('');
      const fresh = text.split(/(?=GET |POST |PUT |OPTIONS )/).filter((request) => !request.startsWith('GET /good '));
      const news = fresh.slice(seen);
      seen = fresh.length;
      return news.join('');
    };
    let seen = 0;
    const undisturbed = async (): Promise<void> => {
      goodAnswers += 1;
      good.send(`GET /good HTTP/1.1\r\n${host}\r\n`);
      await good.untilTrue('an answer to the good client', () => good.text.split('200 OK').length === goodAnswers + 1);
    };

    for (const [name, status, bytes] of refused) {
      test(`${name}: ${status}`, async () => {
        const client = (await open()).send(bytes).send(`GET /smuggled HTTP/1.1\r\n${host}\r\n`);
        await client.untilEnded();
        client.end();
        assert.equal(client.status, status, client.text);
        assert.match(
          client.text,
          /^HTTP\/1\.1 \d{3} .*\r\nConnection: close\r\n\r\n\{"type":"urn:selvedge:error:SLV-4\d{3}".*\}\n$/s,
        );
        assert.match(client.text, /selvedge-decision: [0-9a-f]{12}-/);
        await undisturbed();
        assert.equal(received(), '');
      });
    }

    for (const [name, body] of refusedWithin) {
      test(`${name}: refused, and never whole at the application`, async () => {
        const client = (await open()).send(
          `POST /body HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n${body}GET /smuggled HTTP/1.1\r\n${host}\r\n`,
        );
        await client.untilEnded();
        client.end();
        // This application answers at the head, so its answer may be quicker than the refusal of the body; then the connection ends with it.
        assert.ok(client.status === 400 || client.status === 200, client.text);
        await undisturbed();
        const came = received();
        assert.ok(!came.includes('smuggled') && !came.includes('\r\n0\r\n\r\n'), came);
      });
    }

    for (const [target, line] of canonical) {
      test(`${target} is forwarded as ${line}`, async () => {
        const client = (await open()).send(`GET ${target} HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
        await client.untilEnded();
        client.end();
        assert.equal(client.status, 200, client.text);
        assert.equal(received().split('\r\n')[0], `GET ${line} HTTP/1.1`);
      });
    }

    test('an upgrade to h2c is declined: the request is one of HTTP/1.1', async () => {
      const offer = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n';
      const client = (await open()).send(
        `POST /h2c HTTP/1.1\r\n${host}${offer}Content-Length: 2\r\n\r\nabGET /next HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
      );
      await client.untilEnded();
      client.end();
      assert.equal(client.text.match(/HTTP\/1\.1 200/g)?.length, 2, client.text);
      const came = received();
      assert.match(came, /^POST \/h2c HTTP\/1\.1\r\n/);
      assert.match(came, /GET \/next HTTP\/1\.1\r\n/);
      assert.doesNotMatch(came, /upgrade|http2-settings/i);
    });

    test('claims of identity are dropped, whatever their case, and ours are there once', async () => {
      const claims = [
        'Selvedge-Source: spiffe://x',
        'selvedge-source: y',
        'SELVEDGE-SOURCE: z',
        'X-Selvedge-Any: w',
        'x-forwarded-CLIENT-cert: By=evil',
      ];
      const client = (await open()).send(
        `GET /claims HTTP/1.1\r\n${claims.join('\r\n')}\r\n${host}Connection: close, x-own\r\nX-Own: hop\r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n`,
      );
      await client.untilEnded();
      client.end();
      const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
      assert.equal(
        received(),
        `GET /claims HTTP/1.1\r\nHost: db\r\nSelvedge-Source: ${web}\r\nX-Forwarded-Client-Cert: By=${web.replace(/web$/, 'db')};URI=${web}\r\n\r\n`,
      );
    });

    test('the same in any pieces: byte by byte', async () => {
      const [, , bytes] = refused[0] ?? ['', 0, ''];
      const client = await open();
      for (const byte of Buffer.from(bytes)) client.send(Buffer.of(byte));
      await client.untilEnded();
      client.end();
      assert.equal(client.status, 400);
      await waitFor('it to be over', () => received() === '');
    });
  });
}
