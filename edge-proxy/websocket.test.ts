import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { constants } from 'node:http2';
import { describe, test } from 'node:test';
import { ask, plainSession, session } from '#test/http2-session.ts';
import { intention, type Mesh, startMesh, webMayCall } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { echoApplication, echoApplication2, type Openings, WebSocketStream } from '#test/websocket.ts';

/** WebSockets over HTTP/2 (RFC 8441) through both proxies, or as another client with an SVID, to applications of either version of HTTP. */

const ways = async (mesh: Mesh) => [session(mesh), await plainSession(mesh)];
const source = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';

/** What an application is to see, in HTTP/1.1 or over HTTP/2. */
const openings = {
  http: { ':method': 'GET', ':path': '/chat?q=1', upgrade: 'websocket', host: 'db' },
  http2: { ':method': 'CONNECT', ':path': '/chat?q=1', ':protocol': 'websocket', ':authority': 'db' },
} as const;

const applications = [
  ['http', echoApplication],
  ['http2', echoApplication2],
] as const;

const codeIn = (text: string): string | undefined => /"code":"(SLV-\d{4})"/.exec(text)?.[1];

describe('a WebSocket over HTTP/2', () => {
  for (const [protocol, application] of applications) {
    test(`to an application of ${protocol}: messages both ways, who calls, and its end, by either proxy`, async (t) => {
      const seen: Openings = [];
      const mesh = await startMesh(t, { applications: [application(seen)], protocol });
      for (const client of await ways(mesh)) {
        const socket = await WebSocketStream.open(client, {
          ':path': '/x/../chat?q=1',
          'sec-websocket-key': 'mine',
          'selvedge-source': 'me',
        });
        assert.deepEqual([socket.status, socket.headers['sec-websocket-accept']], [200, undefined]);
        assert.equal(socket.headers['x-app'], protocol === 'http' ? '1' : '2');
        assert.deepEqual([await socket.say('one'), await socket.say('two')], ['one', 'two']);
        const headers = seen.pop() ?? {};
        for (const [name, value] of Object.entries(openings[protocol])) assert.equal(headers[name], value, name);
        assert.equal(headers['selvedge-source'], source);
        assert.match(headers['sec-websocket-key'] ?? 'none', protocol === 'http' ? /^[\w+/]{22}==$/ : /^none$/);
        await socket.end();
        assert.equal(socket.stream.rstCode, 0);
        assert.equal(
          (await ask(client, { ':path': '/none', ':method': 'POST' })).status,
          protocol === 'http' ? 426 : 404,
        );
        const none = await WebSocketStream.open(client, { ':path': '/none' });
        assert.deepEqual([none.status, await none.refusal()], [404, 'none']);
      }
      await waitFor('all to be given back', () => mesh.settled);
    });
  }

  test('Node’s own WebSocket, which speaks HTTP/1.1, to an application of HTTP/2', async (t) => {
    const mesh = await startMesh(t, { applications: [echoApplication2()], protocol: 'http2' });
    const socket = new WebSocket(`ws://127.0.0.1:${mesh.port}/chat`);
    await once(socket, 'open');
    socket.send('hello');
    const [{ data }] = await once(socket, 'message');
    assert.equal(data, 'hello');
    socket.close();
    await once(socket, 'close');
  });

  for (const [protocol, application] of applications) {
    test(`to an application of ${protocol}: judged as a GET by either proxy, and cut when it is denied`, async (t) => {
      const http = { pathExact: '/chat', methods: ['GET'] } as const;
      const rule = (action: 'allow' | 'deny') => [intention({ source: 'web', permissions: [{ action, http }] })];
      const mesh = await startMesh(t, { applications: [application()], protocol, intentions: rule('allow') });
      const clients = await ways(mesh);
      for (const client of clients) {
        const denied = await WebSocketStream.open(client, { ':path': '/admin' });
        assert.deepEqual([denied.status, codeIn(await denied.refusal())], [403, 'SLV-4001']);
        const id = String(denied.headers['selvedge-decision']);
        assert.equal(mesh.traffic.decisions.find(id)?.path, '/admin');
      }
      const sockets = await Promise.all(clients.map((client) => WebSocketStream.open(client)));
      for (const socket of sockets) assert.equal(await socket.say('one'), 'one');
      mesh.feedIntentions(rule('deny'));
      for (const { stream } of sockets) if (!stream.closed) await once(stream, 'close');
      assert.deepEqual(
        sockets.map(({ stream }) => stream.rstCode),
        [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL],
      );
    });
  }

  test('is refused where the application does not take it, and nobody counts that as its failure', async (t) => {
    const mesh = await startMesh(t, { applications: [echoApplication2([], false)], protocol: 'http2' });
    for (const client of await ways(mesh)) {
      const refused = await WebSocketStream.open(client);
      assert.equal(refused.status, 400);
      assert.match(await refused.refusal(), /SLV-4014.*SETTINGS_ENABLE_CONNECT_PROTOCOL/);
    }
    assert.equal(mesh.breaker.snapshot().failures, 0);
  });

  test('another protocol, a length, and an opening that proves nothing are refused', async (t) => {
    const application = createServer((_, response) => response.end('no WebSocket')).on('upgrade', (_, socket) =>
      socket.end('HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AA==\r\n\r\n'),
    );
    const mesh = await startMesh(t, { applications: [application] });
    for (const client of await ways(mesh)) {
      for (const [headers, status, code] of [
        [{ ':protocol': 'connect-udp' }, 501, 'SLV-4212'],
        [{ 'content-length': '1' }, 400, 'SLV-4202'],
        [{ ':path': '*' }, 400, 'SLV-4200'],
        [{}, 502, 'SLV-4005'],
      ] as const) {
        const refused = await WebSocketStream.open(client, headers);
        assert.deepEqual([refused.status, codeIn(await refused.refusal())], [status, code]);
      }
      application.removeAllListeners('upgrade'); // from here on it answers 200, which would be a WebSocket's yes
      const mistaken = await WebSocketStream.open(client);
      assert.deepEqual([mistaken.status, codeIn(await mistaken.refusal())], [502, 'SLV-4005']);
      application.on('upgrade', (_, socket) =>
        socket.end('HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'),
      );
    }
  });

  test('a client that goes away, and an idle hour, end it on all sides', async (t) => {
    const mesh = await startMesh(t, { applications: [echoApplication()] });
    for (const client of await ways(mesh)) {
      const gone = await WebSocketStream.open(client);
      gone.stream.close(constants.NGHTTP2_CANCEL);
      await waitFor('it to be left', () => mesh.settled && mesh.applicationConnections === 0);
      const idle = await WebSocketStream.open(client);
      mesh.pass(3_700_000);
      mesh.pass(3_700_000);
      if (!idle.stream.closed) await once(idle.stream, 'close');
      await waitFor('it to be left', () => mesh.settled && mesh.applicationConnections === 0);
    }
  });

  test('is cut, as an upgraded connection of HTTP/1.1 is, when the protocol of its service becomes another', async (t) => {
    const mesh = await startMesh(t, { applications: [echoApplication()] });
    const sockets = await Promise.all((await ways(mesh)).map((client) => WebSocketStream.open(client)));
    const upgraded = new WebSocket(`ws://127.0.0.1:${mesh.port}/chat`);
    await once(upgraded, 'open');
    const closed = once(upgraded, 'close');
    mesh.feedIntentions(webMayCall, 'http2');
    for (const { stream } of sockets) if (!stream.closed) await once(stream, 'close');
    await closed;
    assert.equal(mesh.decisions.filter(({ rule }) => rule === 'protocol').length, 3);
  });
});
