import assert from 'node:assert/strict';
import {
  type ClientHttp2Session,
  connect,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { describe, test } from 'node:test';
import { dialTlsPeer } from '#test/raw-client.ts';
import { type Mesh, startMesh } from '#test/sidecars.ts';

/** Requests of HTTP/2 through both proxies, with node:http2 as the client and as the application. */

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
}

type Serve = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** A session of the application's with its own proxy. */
function session(mesh: Mesh, port = mesh.port): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${port}`);
  client.on('error', () => {});
  mesh.defer(() => client.destroy());
  return client;
}

function ask(client: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string | Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ':authority': 'db', ...headers }, { endStream: body === undefined });
    let answer: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let text = '';
    stream.setEncoding('utf8');
    stream.on('response', (head) => {
      answer = head;
    });
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('data', (chunk) => {
      text += chunk;
    });
    stream.on('error', reject);
    stream.on('end', () => resolve({ status: Number(answer[':status']), headers: answer, trailers, body: text }));
    if (body !== undefined) stream.end(body);
  });
}

const application = (serve: Serve) => createServer().on('stream', serve);
const mesh2 = (t: Parameters<typeof startMesh>[0], serve: Serve, more: object = {}) =>
  startMesh(t, { applications: [application(serve)], protocol: 'http2', ...more });

describe('HTTP/2 through two proxies', () => {
  test('a request, with who calls, and its answer with trailers', async (t) => {
    const mesh = await mesh2(t, (stream, headers) => {
      stream.respond({ ':status': 201, 'x-app': 'yes' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': '42' }));
      stream.end(JSON.stringify(headers));
    });
    const answer = await ask(session(mesh), {
      ':path': '/x/../orders?q=1',
      'selvedge-source': 'me',
      cookie: ['a=1', 'b=2'],
    });
    assert.equal(answer.status, 201);
    assert.equal(answer.headers['x-app'], 'yes');
    assert.equal(answer.trailers['x-checksum'], '42');
    const seen = JSON.parse(answer.body);
    assert.equal(seen[':path'], '/orders?q=1');
    assert.equal(seen[':authority'], 'db');
    assert.equal(seen['selvedge-source'], 'spiffe://mesh.test/ns/default/dc/dc1/svc/web');
    assert.equal(seen.cookie, 'a=1; b=2');
  });

  test('bodies both ways, large and many at once, on one connection', async (t) => {
    const mesh = await mesh2(t, (stream) => {
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    const client = session(mesh);
    const body = Buffer.alloc(800_000, 'z');
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ask(client, { ':method': 'POST', ':path': '/' }, body)),
    );
    for (const answer of answers) assert.equal(answer.body.length, body.length);
    const small = await Promise.all(
      Array.from({ length: 300 }, (_, n) => ask(client, { ':method': 'POST', ':path': '/' }, `body ${n}`)),
    );
    assert.equal(small[299]?.body, 'body 299');
  });

  test('who speaks something else is told so, at either proxy, and nothing reaches the application', async (t) => {
    const mesh = await mesh2(t, (stream) => stream.respond());
    const told = await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\n\r\n');
    assert.match(told.text, /^HTTP\/1\.1 400 .*SLV-4014.*db is of protocol http2/s);
    const { peer } = await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current);
    await mesh.keep(peer).send('anything').untilEnded();
    assert.match(peer.text, /SLV-4014/);
    assert.equal(mesh.applicationConnections, 0);
    assert.equal(mesh.decisions.filter(({ code }) => code === 'SLV-4014').length, 2);
  });
});
