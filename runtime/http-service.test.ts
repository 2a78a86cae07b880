import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { Hono } from 'hono';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { systemClock } from './clock.ts';
import type { ServedHttp } from './http-server.ts';
import { type PeerEnv, serveHttp } from './http-service.ts';
import { createLogger } from './logging.ts';
import { type MeshRequest, meshRequest, meshStream } from './mesh-http.ts';
import { svidHolder } from './svid/svid.ts';
import { clientTlsOptions } from './tls-identity.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const ca = makeCa('mesh.test');
const id = (service: string) => `spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`;
const web = ca.issue({ spiffeId: id('web') });
const services: ServedHttp[] = [];
after(() => Promise.all(services.map((service) => service.close(0))));

const aborted = Promise.withResolvers<void>();
const blocked = Promise.withResolvers<void>();
const app = new Hono<{ Bindings: PeerEnv }>()
  .get('/whoami', (c) =>
    c.json({ peer: c.env.peer?.spiffeId ?? null, from: c.env.remoteAddress, port: c.env.incoming.socket.remotePort }),
  )
  .post('/echo', async (c) => c.body(await c.req.arrayBuffer()))
  .get('/refuse', () => {
    throw new MeshError('SLV-2002', 'Not for you.');
  })
  .get('/broken', () => {
    throw new Error('secret inside');
  })
  .get('/block', async (c) => {
    c.req.raw.signal.addEventListener('abort', () => aborted.resolve());
    blocked.resolve();
    await aborted.promise;
    return c.text('too late');
  })
  .get('/lines', () => {
    const chunks = ['one\ntw', 'o\n\nthr', 'ee \u00e9\n'];
    return new Response(
      new ReadableStream({
        pull(controller) {
          const chunk = chunks.shift();
          if (chunk === undefined) controller.close();
          else controller.enqueue(new TextEncoder().encode(chunk));
        },
      }),
    );
  })
  .get('/endless', () => {
    const stream = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('first\n'));
      },
    });
    return new Response(stream);
  });
app.onError((error) => {
  throw error;
});

async function serve(more: Partial<Parameters<typeof serveHttp>[0]> = {}): Promise<ServedHttp> {
  const service = await serveHttp({ app, host: '127.0.0.1', port: 0, log, clock: systemClock, ...more });
  services.push(service);
  return service;
}

function ask(service: ServedHttp, path: string, more: Partial<MeshRequest> = {}) {
  return meshRequest({
    url: `${service.url}${path}`,
    clock: systemClock,
    timeoutMs: 5_000,
    trust: staticTrust(ca.bundle),
    ...more,
  });
}

/** All that comes until the connection ends, in whatever way. */
async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += String(chunk);
  });
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

function answerTo(service: ServedHttp, sent: string): Promise<string> {
  const socket = connect(service.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(sent);
  return textOf(socket);
}

describe('over plain http', async () => {
  const service = await serve();

  test('answers, with errors as problems', async () => {
    assert.equal((await ask(service, '/whoami')).status, 200);
    const refused = await ask(service, '/refuse?token=x');
    assert.equal(refused.status, 403);
    assert.equal(refused.headers['content-type'], 'application/problem+json');
    const problem = JSON.parse(refused.body.toString());
    assert.deepEqual([problem.code, problem.detail, problem.instance], ['SLV-2002', 'Not for you.', '/refuse']);
    const broken = await ask(service, '/broken');
    assert.equal(broken.status, 500);
    assert.match(broken.body.toString(), /SLV-1007/);
    assert.doesNotMatch(broken.body.toString(), /secret inside/);
  });

  test('takes a body up to the limit and answers 413 to one over it, announced or not', async () => {
    const limit = 1_048_576;
    const at = await ask(service, '/echo', { method: 'POST', body: Buffer.alloc(limit, 7) });
    assert.equal(at.body.length, limit);
    const over = await ask(service, '/echo', { method: 'POST', body: Buffer.alloc(limit + 1) });
    assert.equal(over.status, 413);
    assert.match(over.body.toString(), /SLV-1008/);
    const chunked = connect(service.port, '127.0.0.1');
    chunked.on('error', () => undefined);
    chunked.write('POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let sent = 0; sent <= 20; sent++) chunked.write(`10000\r\n${'x'.repeat(65_536)}\r\n`);
    const [head] = await once(chunked, 'data');
    assert.match(String(head), /^HTTP\/1\.1 413 /);
    chunked.destroy();
  });

  test('answers 413 before "100 Continue" asks for a body that is too large', async () => {
    const socket = connect(service.port, '127.0.0.1');
    socket.write('POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n');
    const [head] = await once(socket, 'data');
    assert.match(String(head), /^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test('what can not be read as a request is answered as a problem, and ends the connection', async () => {
    const chunked = 'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
    for (const [sent, status, code] of [
      [`GET /whoami HTTP/1.1\r\nHost: x\r\nX-Large: ${'x'.repeat(17_000)}\r\n\r\n`, 431, 'SLV-1012'],
      ['GET /whoami HTTP/1.1\r\nHost : x\r\n\r\n', 400, 'SLV-1009'],
      ['no request\r\n\r\n', 400, 'SLV-1009'],
      [`${chunked}zz\r\n`, 400, 'SLV-1009'],
    ] as const) {
      const answer = await answerTo(service, sent);
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
      assert.equal(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))).code, code);
    }
  });

  test('an answer that has begun is cut off, not garbled, by a request behind it that can not be read', async () => {
    const socket = connect(service.port, '127.0.0.1');
    socket.on('error', () => undefined);
    const received = textOf(socket);
    socket.write('GET /endless HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.write('no request\r\n\r\n');
    assert.doesNotMatch(await received, /SLV-/);
  });

  test("a client that goes away aborts the request's signal", async () => {
    const abort = new AbortController();
    const pending = ask(service, '/block', { signal: abort.signal });
    await blocked.promise;
    abort.abort(new Error('client left'));
    await assert.rejects(pending, /client left/);
    await aborted.promise;
  });

  test('reads keep their connection; writes do not share', async () => {
    const port = async (method: string) =>
      JSON.parse((await ask(service, '/whoami', { method })).body.toString() || '{}').port;
    assert.equal(await port('GET'), await port('GET'));
  });

  test('streams lines as they come, whole and bounded', async () => {
    const stream = await meshStream({ url: `${service.url}/lines`, clock: systemClock, timeoutMs: 5_000 });
    assert.deepEqual(await Array.fromAsync(stream.lines), ['one', 'two', '', 'three \u00e9']);
    const bounded = await meshStream({
      url: `${service.url}/lines`,
      clock: systemClock,
      timeoutMs: 5_000,
      maxBytes: 4,
    });
    await assert.rejects(Array.fromAsync(bounded.lines), (error) => isMeshError(error, 'SLV-1006'));
  });

  test('close ends a stream', async () => {
    const stream = await meshStream({ url: `${service.url}/endless`, clock: systemClock, timeoutMs: 5_000 });
    const lines: string[] = [];
    for await (const line of stream.lines) {
      lines.push(line);
      stream.close();
    }
    assert.deepEqual(lines, ['first']);
  });

  test('unreachable, too slow, too large: SLV-1006', async () => {
    const refused = (error: unknown) => isMeshError(error, 'SLV-1006');
    await assert.rejects(meshRequest({ url: 'http://127.0.0.1:1/', clock: systemClock, timeoutMs: 1_000 }), refused);
    await assert.rejects(ask(service, '/endless', { timeoutMs: 50 }), refused);
    await assert.rejects(ask(service, '/lines', { maxBytes: 3 }), refused);
  });
});

test('an address that is taken is SLV-1004', async () => {
  const { port } = await serve();
  await assert.rejects(serve({ port }), (error) => isMeshError(error, 'SLV-1004'));
});

test('close lets what is in flight finish within the grace, and destroys the rest', async () => {
  const { promise: entered, resolve: enter } = Promise.withResolvers<void>();
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const slow = new Hono().get('/', async (c) => {
    enter();
    await gate;
    return c.text('done');
  });
  const service = await serve({ app: slow });
  const pending = ask(service, '/');
  await entered;
  const closed = service.close(5_000);
  open();
  assert.equal((await pending).body.toString(), 'done');
  await closed;
  const endless = await serve();
  const stream = await meshStream({ url: `${endless.url}/endless`, clock: systemClock, timeoutMs: 5_000 });
  await endless.close(10);
  await assert.rejects(Array.fromAsync(stream.lines), (error) => isMeshError(error, 'SLV-1006'));
});

describe('over TLS', () => {
  test('knows a peer by its SVID, and a stranger as one', async () => {
    const service = await serve({
      tls: { svid: svidHolder(ca.issue({ spiffeId: id('db') })), trust: staticTrust(ca.bundle) },
    });
    const peerOf = async (more: Partial<MeshRequest>) =>
      JSON.parse((await ask(service, '/whoami', more)).body.toString()).peer;
    assert.equal(await peerOf({ svid: web }), id('web'));
    assert.equal(await peerOf({}), null);
    assert.equal(await peerOf({ svid: web, expect: id('db') as typeof web.spiffeId }), id('web'));
  });

  test('a certificate that does not verify ends the connection, before the application sees anything', async () => {
    let requests = 0;
    const counting = new Hono().get('/', (c) => {
      requests += 1;
      return c.text('');
    });
    const service = await serve({
      app: counting,
      tls: { svid: svidHolder(ca.issue({ spiffeId: id('db') })), trust: staticTrust(ca.bundle) },
    });
    for (const svid of [
      makeCa('mesh.test').issue({ spiffeId: id('web') }),
      ca.issue({ spiffeId: id('web'), isCa: true }),
    ]) {
      await assert.rejects(ask(service, '/', { svid }), (error) => isMeshError(error, 'SLV-1006'));
      // A client that does not wait for the verdict.
      const socket = connectTls({ ...clientTlsOptions(svid), host: '127.0.0.1', port: service.port });
      socket.on('error', () => undefined);
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await new Promise((resolve) => socket.once('close', resolve));
    }
    assert.equal(requests, 0);
  });

  test('a server with the wrong SVID, or one that expect does not want, gets nothing', async () => {
    let requests = 0;
    const counting = new Hono().all('*', (c) => {
      requests += 1;
      return c.text('');
    });
    const service = await serve({
      app: counting,
      tls: { svid: svidHolder(ca.issue({ spiffeId: id('db') })), trust: staticTrust(ca.bundle) },
    });
    const secret = { method: 'POST', body: 'secret' };
    await assert.rejects(ask(service, '/', { ...secret, expect: () => false }), (error) =>
      isMeshError(error, 'SLV-2010'),
    );
    await assert.rejects(ask(service, '/', { ...secret, trust: staticTrust(makeCa('mesh.test').bundle) }), (error) =>
      isMeshError(error, 'SLV-2020'),
    );
    await assert.rejects(meshRequest({ url: service.url, clock: systemClock, timeoutMs: 5_000 }), (error) =>
      isMeshError(error, 'SLV-2010'),
    );
    assert.equal(requests, 0);
  });

  test('rotates its SVID while requests flow', async () => {
    const holder = svidHolder(ca.issue({ spiffeId: id('db') }));
    const service = await serve({ tls: { svid: holder, trust: staticTrust(ca.bundle) } });
    for (let round = 0; round < 5; round++) {
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => ask(service, '/echo', { method: 'POST', body: 'x', svid: web })),
      );
      assert.ok(answers.every((answer) => answer.body.toString() === 'x'));
      holder.set(ca.issue({ spiffeId: id('db') }));
    }
  });

  test('a connection ends when the SVID of its peer has run out', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    let nowMs = Date.now();
    const tls = { svid: svidHolder(ca.issue({ spiffeId: id('db') })), trust: staticTrust(ca.bundle) };
    const service = await serve({ tls, clock: () => nowMs });
    const svid = ca.issue({ spiffeId: id('web'), notAfterMs: nowMs + 1_000 });
    const url = `${service.url}/endless`;
    const stream = await meshStream({ url, clock: systemClock, timeoutMs: 5_000, svid, trust: staticTrust(ca.bundle) });
    const lines = stream.lines[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, 'first');
    nowMs += 63_000;
    t.mock.timers.tick(15_000);
    await assert.rejects(lines.next(), (error) => isMeshError(error, 'SLV-1006'));
  });

  test('a kept connection ends when its peer is revoked, on either side', async () => {
    const serverTrust = staticTrust(ca.bundle);
    const clientTrust = staticTrust(ca.bundle);
    const server = ca.issue({ spiffeId: id('db') });
    const holder = svidHolder(server);
    const service = await serve({ tls: { svid: holder, trust: serverTrust } });
    const stream = await meshStream({
      url: `${service.url}/endless`,
      clock: systemClock,
      timeoutMs: 5_000,
      svid: web,
      trust: clientTrust,
    });
    await ask(service, '/whoami', { svid: web, trust: clientTrust });
    clientTrust.revoke(server.serialHex);
    await assert.rejects(ask(service, '/whoami', { svid: web, trust: clientTrust }), (error) =>
      isMeshError(error, 'SLV-2020'),
    );
    serverTrust.revoke(web.serialHex);
    await assert.rejects(Array.fromAsync(stream.lines), (error) => isMeshError(error, 'SLV-1006'));
  });
});
