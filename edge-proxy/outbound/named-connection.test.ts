import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
  createServer as createHttp2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { createServer } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { ask, session } from '#test/http2-session.ts';
import { RawPeer } from '#test/raw-client.ts';
import { endpoint, type Mesh, startMesh, webMayNot } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

/** One port for all services, over real sockets: by Host, by an absolute target, by CONNECT. */

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** An application that answers each head with `ok` and keeps what came. */
function application(): { server: ReturnType<typeof createServer>; peers: RawPeer[] } {
  const peers: RawPeer[] = [];
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const peer = new RawPeer(socket);
    peers.push(peer);
    let answered = 0;
    socket.on('data', () => {
      for (const heads = peer.text.split('\r\n\r\n').length - 1; answered < heads; answered++) peer.send(ok);
    });
    socket.on('end', () => socket.end());
  });
  return { server, peers };
}

/** Of a service of bytes that `web` may not call. */
const startDenied = (t: TestContext): Promise<Mesh> =>
  startMesh(t, {
    applications: [application().server],
    protocol: 'tcp',
    httpProxy: true,
    intentions: webMayNot,
  });

const portOf = (mesh: Mesh): number => mesh.web.httpProxyPort ?? 0;
const get = (host: string, target = '/', more = '') => `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
const code = (peer: RawPeer): string | undefined => /"code":"(SLV-\d{4})"/.exec(peer.text)?.[1];
const closing = 'Connection: close\r\n';

describe('one port for all services', () => {
  test('by Host and by an absolute target, on one connection; both proxies count and judge as at a port of its own', async (t) => {
    const { server, peers } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    const peer = mesh.dial(portOf(mesh));
    for (const [index, request] of [
      get('db'),
      get('DB.mesh:8080', '/orders'),
      get('db.service.consul'),
      get(
        'db.mesh',
        'http://db.mesh/absolute?q=1',
        'Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n',
      ),
    ].entries()) {
      peer.send(request);
      await peer.untilTrue('the answer', () => peer.text.split(ok).length - 1 === index + 1);
    }
    const seen = peers.map(({ text }) => text).join('');
    assert.match(seen, /GET \/orders HTTP\/1\.1\r\nHost: DB\.mesh:8080/);
    assert.match(seen, /GET \/absolute\?q=1 HTTP\/1\.1/);
    assert.doesNotMatch(seen, /proxy-/i);
    assert.deepEqual(
      mesh.web.upstreams.map(({ name }) => name),
      ['db'],
    );
    mesh.feedIntentions(webMayNot);
    await waitFor('the deny', async () => (await mesh.ask(get('db', '/', closing), portOf(mesh))).status === 403);
  });

  test('everything else is refused, and the connection goes on', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    const peer = mesh.dial(portOf(mesh));
    for (const host of ['example.com', '127.0.0.1:9', 'localhost', '169.254.169.254']) {
      peer.send(get(host, `http://${host}/latest`));
      await peer.until(`"SLV-4012"`);
    }
    peer.send(get('db'));
    await peer.until(ok);
    const connect = await mesh.ask(
      'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n',
      portOf(mesh),
    );
    assert.deepEqual([connect.status, code(connect)], [421, 'SLV-4012']);
    const [decision] = mesh.decisions;
    assert.deepEqual([decision?.destination, decision?.source, decision?.code], ['example.com:443', 'web', 'SLV-4012']);
  });

  test('a service never called before waits for the catalog, once; a body waits with it', async (t) => {
    const { server, peers } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    let asked = 0;
    mesh.web.feed.renew = () => {
      asked += 1;
    };
    mesh.web.view.keepUpstreams(new Set());
    const waiting = mesh.dial(portOf(mesh)).send('POST /late HTTP/1.1\r\nHost: db\r\nContent-Length: 4\r\n\r\nbody');
    const alongside = mesh.dial(portOf(mesh)).send(get('db'));
    await waitFor('the question', () => asked > 0);
    mesh.feedUpstream();
    await Promise.all([waiting.until(ok), alongside.until(ok)]);
    assert.equal(asked, 1);
    assert.ok(peers.some(({ text }) => text.endsWith('body')));
    mesh.feedUpstream({ endpoints: [] });
    const none = await mesh.ask(get('db', '/', closing), portOf(mesh));
    assert.deepEqual([none.status, code(none)], [503, 'SLV-4002'], 'once known it does not wait');
  });

  test('what the catalog does not tell in time, or has no instance of, is refused and makes no metric', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    mesh.web.feed.state = { kind: 'lost', reason: 'it is down' };
    const lost = await mesh.ask(get('unheard.mesh', '/', closing), portOf(mesh));
    assert.deepEqual([lost.status, code(lost)], [503, 'SLV-4013']);
    assert.match(lost.text, /it is down/);
    mesh.web.feed.state = { kind: 'connecting' };
    const slow = await mesh.ask(get('unheard.mesh', '/', closing), portOf(mesh));
    assert.deepEqual([slow.status, code(slow)], [503, 'SLV-4013']);
    const gone = mesh.dial(portOf(mesh)).send(get('unheard'));
    await gone.untilTrue('the connection', () => !gone.socket.connecting);
    gone.socket.destroy();
    mesh.feed(mesh.web, [{ kind: 'upstream', name: 'unheard', protocol: 'tcp', endpoints: [], resilience: {} }]);
    const none = await mesh.ask(get('unheard', '/', closing), portOf(mesh));
    assert.deepEqual([none.status, code(none)], [503, 'SLV-4002']);
    assert.deepEqual(mesh.web.upstreams, []);
    await mesh.ask(get('db', '/', closing), portOf(mesh));
  });

  test('names without end find no room among themselves, and take none of a service', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    mesh.web.feed.renew = () => {};
    mesh.web.feed.state = { kind: 'lost', reason: 'it is down' };
    const peer = mesh.dial(portOf(mesh)).send(get('db'));
    await peer.until(ok);
    for (let index = 0; index < 300; index++) peer.send(get(`made-up-${index}`));
    await peer.untilTrue('all answers', () => peer.text.split('HTTP/1.1 503').length - 1 === 300);
    assert.match(peer.text, /128 names .* finds no room/);
    const names = () => mesh.web.upstreams.map(({ name }) => name);
    assert.deepEqual(names(), ['db']);
    // One of them is a service after all.
    mesh.feed(mesh.web, [
      { kind: 'upstream', name: 'made-up-260', protocol: 'http', endpoints: [endpoint(0, 1)], resilience: {} },
      { kind: 'upstream', name: 'made-up-7', protocol: 'http', endpoints: [endpoint(0, 1)], resilience: {} },
    ]);
    assert.deepEqual(names(), ['db', 'made-up-7']);
    peer.send(get('db'));
    await peer.untilTrue('db to answer', () => peer.text.split(ok).length - 1 === 2);
  });
});

describe('one port for all services, in HTTP/2', () => {
  const path = { ':path': '/' };

  test('by :authority, each stream for itself; what is no service of the mesh is refused in its own form', async (t) => {
    const application = createHttp2Server((request, response) => {
      request.pipe(response.writeHead(200, { 'x-authority': request.authority }));
    });
    const mesh = await startMesh(t, { applications: [application], protocol: 'http2', httpProxy: true });
    const client = session(mesh, portOf(mesh));
    const [ours, other, grpc] = await Promise.all([
      ask(client, { ...path, ':method': 'POST', ':authority': 'DB.mesh:80' }, 'body'),
      ask(client, { ...path, ':authority': 'example.com' }),
      ask(client, { ...path, ':authority': 'example.com', 'content-type': 'application/grpc', te: 'trailers' }),
    ]);
    assert.deepEqual([ours.status, ours.body, ours.headers['x-authority']], [200, 'body', 'DB.mesh:80']);
    assert.equal(other.status, 421);
    assert.match(other.body, /SLV-4012/);
    assert.deepEqual([grpc.status, grpc.headers['grpc-status']], [200, '2']);
    assert.match(String(grpc.headers['grpc-message']), /SLV-4012/);
    for (const { headers } of [other, grpc])
      assert.equal(mesh.traffic.decisions.find(String(headers['selvedge-decision']))?.destination, 'example.com');
  });

  test('a service never called before waits for the catalog with its body; its neighbours do not', async (t) => {
    const application = createHttp2Server((request, response) => void request.pipe(response));
    const mesh = await startMesh(t, { applications: [application], protocol: 'http2', httpProxy: true });
    mesh.web.feed.renew = () => {};
    mesh.web.view.keepUpstreams(new Set());
    const client = session(mesh, portOf(mesh));
    const waiting = ask(client, { ...path, ':method': 'POST' }, 'late');
    assert.equal((await ask(client, { ...path, ':authority': 'example.com' })).status, 421);
    mesh.feedUpstream();
    assert.equal((await waiting).body, 'late');
    mesh.web.feed.state = { kind: 'lost', reason: 'it is down' };
    const lost = { ...path, ':authority': 'unheard.mesh', 'content-type': 'application/grpc' };
    assert.equal((await ask(client, lost)).headers['grpc-status'], '14');
  });
});

describe('CONNECT', () => {
  const connect = (host: string, more = '') => `CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n${more}`;

  test('to a service of bytes: bytes both ways, also those sent too early; each side ends for itself', async (t) => {
    const echo = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => socket.pipe(socket));
    const mesh = await startMesh(t, { applications: [echo], protocol: 'tcp', httpProxy: true });
    const peer = mesh.dial(portOf(mesh)).send(connect('db.mesh:5432', 'early '));
    await peer.until('HTTP/1.1 200 OK\r\n\r\n', 'early ');
    peer.send('late').end();
    await peer.untilEnded();
    assert.equal(peer.text, 'HTTP/1.1 200 OK\r\n\r\nearly late');
    const hasty = mesh.dial(portOf(mesh)).send(connect('db.mesh:5432', 'all')).end();
    await hasty.untilEnded();
    assert.equal(hasty.text, 'HTTP/1.1 200 OK\r\n\r\nall');
  });

  test('of services the one not used for the longest time makes room, one with an open connection last', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    mesh.web.feed.renew = () => {};
    const held = mesh.dial(portOf(mesh)).send(connect('db:80', get('db')));
    await held.until('HTTP/1.1 200 OK\r\n\r\n', ok);
    mesh.feed(mesh.web, [
      { kind: 'upstream', name: 'later', protocol: 'http', endpoints: [endpoint(0, 1)], resilience: {} },
    ]);
    assert.equal((await mesh.ask(get('later', '/', closing), portOf(mesh))).status, 503);
    const names = () => mesh.web.upstreams.map(({ name }) => name);
    assert.deepEqual(names(), ['db', 'later']);
    const services = Array.from({ length: 256 }, (_, index) => `service-${index}`);
    mesh.feed(
      mesh.web,
      services.map((name) => ({
        kind: 'upstream',
        name,
        protocol: 'http',
        endpoints: [endpoint(0, 1)],
        resilience: { retries: { attempts: 0 } },
      })),
    );
    const others = mesh.dial(portOf(mesh));
    const ask = async (asked: readonly string[], answers: number) => {
      for (const name of asked) others.send(get(name));
      await others.untilTrue('all answers', () => others.text.split('HTTP/1.1 503').length - 1 === answers);
    };
    await ask(services.slice(0, 255), 255);
    assert.deepEqual(names(), ['db', ...services.slice(0, 255)], 'later was used later than db, and nobody holds it');
    await ask(['service-0', 'service-255'], 257);
    assert.ok(names().includes('service-0') && !names().includes('service-1'));
    held.send(get('db'));
    await held.untilTrue('a second answer', () => held.text.split(ok).length - 1 === 2);
  });

  test('behind another request, to a service of HTTP: its requests, as at a port of its own', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    const peer = mesh.dial(portOf(mesh)).send(get('db'));
    await peer.until(ok);
    peer.send(connect('db:80', get('db', '/inside', closing)));
    await peer.untilEnded();
    assert.equal(peer.text.split('200 OK').length - 1, 3);
    assert.match(peer.text, /Connection: close/i);
  });

  test('to a service of HTTP/2: HTTP/2 by prior knowledge', async (t) => {
    const application = createHttp2Server((_, response) => response.end('by HTTP/2'));
    const mesh = await startMesh(t, { applications: [application], protocol: 'http2', httpProxy: true });
    const peer = mesh.dial(portOf(mesh)).send(connect('db:80'));
    await peer.until('200 OK');
    peer.socket.removeAllListeners('data');
    const session = connectHttp2('http://db', { createConnection: () => peer.socket });
    t.after(() => session.destroy());
    assert.equal(await text(session.request({ ':path': '/' })), 'by HTTP/2');
  });

  test('a no of the mesh is an answer with a decision, not a cut', async (t) => {
    const mesh = await startDenied(t);
    const denied = await mesh.ask(connect('db.mesh:5432'), portOf(mesh));
    assert.deepEqual([denied.status, code(denied)], [403, 'SLV-4001']);
    assert.match(denied.text, /selvedge-decision: /i);
  });

  test('what is no CONNECT of RFC 9110 is refused', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    for (const [request, expected] of [
      ['CONNECT /x HTTP/1.1\r\nHost: db\r\n\r\n', 'SLV-4200'],
      ['CONNECT db HTTP/1.1\r\nHost: db\r\n\r\n', 'SLV-4200'],
      ['CONNECT db:80 HTTP/1.1\r\nHost: other:80\r\n\r\n', 'SLV-4204'],
      ['CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\nContent-Length: 3\r\n\r\nabc', 'SLV-4202'],
      ['GET https://db/ HTTP/1.1\r\nHost: db\r\n\r\n', 'SLV-4200'],
    ] as const) {
      assert.equal(code(await mesh.ask(request, portOf(mesh))), expected, request);
    }
    await mesh.ask(get('db', '/', closing), portOf(mesh));
  });
});

describe('CONNECT in HTTP/2', () => {
  const connect = (client: ClientHttp2Session, authority: string, more: OutgoingHttpHeaders = {}) =>
    client.request({ ':method': 'CONNECT', ':authority': authority, ...more });
  const answerTo = async (stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> =>
    (await once(stream, 'response'))[0];

  test('to a service of bytes: bytes both ways, also those sent too early; each side ends for itself', async (t) => {
    const echo = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => socket.pipe(socket));
    const mesh = await startMesh(t, { applications: [echo], protocol: 'tcp', httpProxy: true });
    mesh.web.feed.renew = () => {};
    mesh.web.view.keepUpstreams(new Set());
    const client = session(mesh, portOf(mesh));
    const waits = connect(client, 'db.mesh:5432');
    waits.end('early');
    const refused = connect(client, 'example.com:443');
    assert.equal((await answerTo(refused))[':status'], 421);
    assert.match(await text(refused), /SLV-4012/);
    mesh.feedUpstream();
    assert.equal((await answerTo(waits))[':status'], 200);
    assert.equal(await text(waits), 'early');
    const both = connect(client, 'db:5432');
    const [large, received] = [Buffer.alloc(2_000_000, 'z'), buffer(both)];
    both.write('one ');
    both.end(large);
    assert.deepEqual(await received, Buffer.concat([Buffer.from('one '), large]));
    const gone = connect(client, 'db:5432');
    await answerTo(gone);
    gone.close(constants.NGHTTP2_CANCEL);
    await waitFor('it to be left', () => mesh.settled && mesh.applicationConnections === 0);
  });

  test('to a service of HTTP: its requests, in either version, as at a port of its own', async (t) => {
    const { server } = application();
    const mesh = await startMesh(t, { applications: [server], httpProxy: true });
    const client = session(mesh, portOf(mesh));
    const first = connect(client, 'db:80');
    await answerTo(first);
    first.write(get('db', '/inside', closing));
    assert.match(await text(first), /200 OK\r\n(.*\r\n)*\r\nok$/);
    first.end();
    const second = connect(client, 'db:80');
    await answerTo(second);
    const inner = connectHttp2('http://db', { createConnection: () => second });
    mesh.defer(() => inner.destroy());
    assert.equal((await ask(inner, { ':path': '/', ':method': 'POST' })).body, 'ok');
    assert.equal((await ask(inner, { ':method': 'CONNECT', ':authority': 'db:80' })).status, 501);
  });

  test('a no of the mesh is an answer with a decision; what is no CONNECT of RFC 9113 is refused', async (t) => {
    const mesh = await startDenied(t);
    const client = session(mesh, portOf(mesh));
    for (const [authority, headers, status, code] of [
      ['db.mesh:5432', {}, 403, 'SLV-4001'],
      ['db', {}, 400, 'SLV-4200'],
      ['db:80', { host: 'other:80' }, 400, 'SLV-4204'],
      ['db:80', { 'content-length': '3' }, 400, 'SLV-4202'],
      ['db:80', { x_role: 'a' }, 400, 'SLV-4201'],
    ] as const) {
      const stream = connect(client, authority, headers);
      const answer = await answerTo(stream);
      assert.deepEqual([answer[':status'], JSON.parse(await text(stream)).code], [status, code]);
      assert.equal(mesh.traffic.decisions.find(String(answer['selvedge-decision']))?.code, code);
    }
  });
});
