import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { after, suite, test } from 'node:test';
import { record } from './memory-wire.ts';
import { acceptTunnel, openTunnel } from './socket-tunnel.ts';
import type { OriginTunnel, Tunnel } from './tunnel.ts';
import type { InboundTunnelStream, TunnelStream } from './tunnel-stream.ts';

/** Waits for a condition, a turn of the event loop at a time, with a deadline. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const cleanUps: Array<() => void> = [];
after(() => {
  for (const cleanUp of cleanUps.reverse()) cleanUp();
});

async function listen(server: Server | http2.Http2Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUps.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Our accepting end on a port; every stream goes to `onStream`. */
async function ourServer(
  onStream: (stream: InboundTunnelStream) => void,
): Promise<{ port: number; tunnels: Tunnel[] }> {
  const tunnels: Tunnel[] = [];
  const server = createServer((socket) => {
    tunnels.push(acceptTunnel({ socket, handlers: { onStream, onClose() {} } }));
    cleanUps.push(() => socket.destroy());
  });
  return { port: await listen(server), tunnels };
}

async function ourClient(port: number): Promise<{ tunnel: OriginTunnel; closed: unknown[] }> {
  const socket = connect(port, '127.0.0.1');
  cleanUps.push(() => socket.destroy());
  await once(socket, 'connect');
  const closed: unknown[] = [];
  return { tunnel: openTunnel({ socket, handlers: { onClose: (reason) => closed.push(reason) } }), closed };
}

/** Sends everything back, with back-pressure, and ends when the peer has. */
function echo(stream: TunnelStream): void {
  stream.handlers = {
    onData(chunk) {
      if (!stream.write(chunk)) stream.pause();
    },
    onDrain: () => stream.resume(),
    onEnd: () => stream.end(),
    onReset() {},
  };
}

/** Sends `total` bytes of a pattern, as fast as back-pressure allows, and tells the hash of what comes back. */
function transfer(stream: TunnelStream, total: number): Promise<{ sent: string; received: string }> {
  const sent = createHash('sha256');
  const received = createHash('sha256');
  let left = total;
  let turn = 0;
  const pump = (): void => {
    while (left > 0) {
      const chunk = Buffer.alloc(Math.min(left, 1 + ((turn * 7_919) % 60_000)), turn++);
      left -= chunk.length;
      sent.update(chunk);
      if (!stream.write(chunk)) return;
    }
    stream.end();
  };
  return new Promise((resolve, reject) => {
    stream.handlers = {
      onData: (chunk) => received.update(chunk),
      onDrain: pump,
      onEnd: () => resolve({ sent: sent.digest('hex'), received: received.digest('hex') }),
      onReset: (code) => reject(new Error(`reset ${code}`)),
    };
    pump();
  });
}

const megabytes = 20_000_000;

suite('tunnel over TCP', () => {
  test('20 MB each way with half-close, next to small streams', async () => {
    const { port } = await ourServer((stream) => {
      echo(stream);
      stream.accept();
    });
    const { tunnel, closed } = await ourClient(port);
    const large = transfer(
      tunnel.open('db:80', [], () => {}),
      megabytes,
    );
    const small = Array.from({ length: 50 }, (_, at) =>
      transfer(
        tunnel.open(`s${at}:80`, [], () => {}),
        at * 100,
      ),
    );
    for (const { sent, received } of await Promise.all([...small, large])) assert.equal(received, sent);
    tunnel.goAway();
    await until('both ends closed', () => closed.length === 1);
    assert.deepEqual(closed, [undefined]);
  });

  test('a socket that breaks resets what runs, and says so', async () => {
    const offered: InboundTunnelStream[] = [];
    const { port } = await ourServer((stream) => {
      offered.push(stream);
      stream.accept();
    });
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const closed: unknown[] = [];
    const tunnel = openTunnel({ socket, handlers: { onClose: (reason) => closed.push(reason) } });
    const told = record(tunnel.open('db:80', [], () => {}));
    await until('offered', () => offered.length === 1);
    socket.destroy(new Error('cut'));
    await until('closed', () => closed.length === 1);
    assert.deepEqual(told.resets, [[8, false]]);
    assert.ok(closed[0] instanceof Error && 'code' in closed[0] && closed[0].code === 'SLV-4103');
  });
});

suite('node:http2 opens, we accept', () => {
  async function nodeClient(port: number): Promise<http2.ClientHttp2Session> {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    cleanUps.push(() => session.destroy());
    await once(session, 'remoteSettings');
    return session;
  }
  const ask = (session: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders = {}): http2.ClientHttp2Stream =>
    session.request({ ':method': 'CONNECT', ':authority': 'db:80', ...headers });

  test('20 MB each way with half-close', async () => {
    const { port } = await ourServer((stream) => {
      echo(stream);
      stream.accept([['selvedge-decision', 'd1']]);
    });
    const session = await nodeClient(port);
    const stream = ask(session, { 'x-long': 'y'.repeat(20_000) });
    const [headers] = await once(stream, 'response');
    assert.equal(headers[':status'], 200);
    assert.equal(headers['selvedge-decision'], 'd1');
    assert.deepEqual(await roundTrip(stream, megabytes), { same: true });
  });

  test('refusals, other methods and resets', async () => {
    const offered: InboundTunnelStream[] = [];
    const { port } = await ourServer((stream) => offered.push(stream));
    const session = await nodeClient(port);
    const refused = ask(session);
    await until('offered', () => offered.length === 1);
    offered[0]?.refuse(403, [['selvedge-decision', 'd2']]);
    const [headers] = await once(refused, 'response');
    assert.equal(headers[':status'], 403);
    refused.resume();
    await once(refused, 'close');
    const get = session.request({ ':path': '/' });
    const [answer] = await once(get, 'response');
    assert.equal(answer[':status'], 405);
    get.close();
    const cancelled = ask(session);
    await until('offered', () => offered.length === 2);
    const stream = offered[1];
    assert.ok(stream !== undefined);
    const told = record(stream);
    cancelled.close(http2.constants.NGHTTP2_CANCEL);
    await until('reset', () => told.resets.length === 1);
    assert.deepEqual(told.resets, [[8, true]]);
  });

  test('its GOAWAY and ours', async () => {
    const { port, tunnels } = await ourServer((stream) => {
      echo(stream);
      stream.accept();
    });
    const session = await nodeClient(port);
    const stream = ask(session);
    await once(stream, 'response');
    tunnels[0]?.goAway();
    await once(session, 'goaway');
    assert.deepEqual(await roundTrip(stream, 10_000), { same: true });
    await until('our end closed', () => tunnels[0]?.state === 'closed');
  });
});

suite('we open, node:http2 accepts', () => {
  test('20 MB each way with half-close, a refusal, and its close', async () => {
    const server = http2.createServer();
    const sessions: http2.ServerHttp2Session[] = [];
    server.on('session', (session) => sessions.push(session));
    server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
      if (headers[':authority'] === 'no:80') {
        stream.respond({ ':status': 403 });
        stream.end('with a body that nobody wants');
        return;
      }
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    const { tunnel, closed } = await ourClient(await listen(server));
    const answers: number[] = [];
    const large = await transfer(
      tunnel.open('db:80', [['x-a', 'b']], (status) => answers.push(status)),
      megabytes,
    );
    assert.equal(large.received, large.sent);
    const told = record(tunnel.open('no:80', [], (status) => answers.push(status)));
    await until('answered', () => answers.length === 2);
    assert.deepEqual(answers, [200, 403]);
    assert.deepEqual([told.received, told.ended, told.resets, tunnel.activeStreams], [0, 0, [], 0]);
    sessions[0]?.close();
    await until('closed', () => closed.length === 1);
    assert.deepEqual(closed, [undefined]);
  });

  test('a stalled stream holds bounded memory while another flows', async () => {
    const server = http2.createServer({ settings: { initialWindowSize: 1_000_000 } });
    server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200 });
      if (headers[':authority'] === 'stalled:80') {
        const flood = (): void => {
          while (stream.write(Buffer.alloc(50_000)));
        };
        stream.on('drain', flood);
        flood();
      } else stream.pipe(stream);
    });
    const { tunnel } = await ourClient(await listen(server));
    const stalled = tunnel.open('stalled:80', [], () => {});
    const told = record(stalled);
    stalled.pause();
    const { sent, received } = await transfer(
      tunnel.open('db:80', [], () => {}),
      megabytes,
    );
    assert.equal(received, sent);
    assert.equal(told.received, 0);
    stalled.handlers = { ...stalled.handlers, onData: (chunk) => (told.received += chunk.length) };
    stalled.resume();
    // What was held: one window, not a byte more than had credit.
    const held = told.received;
    assert.ok(held > 0 && held <= 256 * 1_024, `${held} bytes held`);
    stalled.reset('cancel');
    assert.equal(tunnel.activeStreams, 0);
  });
});

/** Writes `total` bytes through an echo on a node stream, and compares. */
async function roundTrip(stream: Duplex, total: number): Promise<{ same: boolean }> {
  const data = Buffer.alloc(total, 'abcdefghijklmnopqrstuvwxyz 0123456789 ');
  const received: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => received.push(chunk));
  const ended = once(stream, 'end');
  stream.end(data);
  await ended;
  return { same: Buffer.concat(received).equals(data) };
}
