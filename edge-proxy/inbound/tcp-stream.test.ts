import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { describe, test } from 'node:test';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { makeCa } from '#test/mini-ca.ts';
import { dial, dialTlsPeer, RawPeer } from '#test/raw-client.ts';
import { type Mesh, startMesh, vanish } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { record } from '../tunnel/memory-wire.ts';
import { openTunnel } from '../tunnel/socket-tunnel.ts';

/** TCP through both proxies: bytes and ends go through as they are. */

const tcp = (application: Server | undefined, resilience: object = {}) => ({
  applications: [application],
  protocol: 'tcp' as const,
  resilience,
});
const server = (talk: (peer: RawPeer) => void) =>
  createServer({ allowHalfOpen: true, noDelay: true }, (socket) => talk(new RawPeer(socket)));
/** One that says something, and leaves when its caller does. */
const greeting = (words: string) => createServer({ noDelay: true }, (socket) => void socket.resume().write(words));

/** The two ways in: through both proxies, and by plain mTLS at the inbound one. */
const ways: readonly (readonly [string, (mesh: Mesh) => Promise<RawPeer>])[] = [
  ['through a tunnel', async (mesh) => mesh.dial()],
  ['by plain mTLS', async (mesh) => mesh.keep((await dialTlsPeer(mesh.db.inboundPort, mesh.webSvid.current)).peer)],
];

for (const [way, open] of ways) {
  describe(way, () => {
    test('the server may speak first', async (t) => {
      const mesh = await startMesh(t, tcp(greeting('220 ready')));
      const client = await open(mesh);
      await client.until('220 ready');
    });

    test('half-close goes through, both ways round', async (t) => {
      const mesh = await startMesh(
        t,
        tcp(
          server((peer) => {
            peer.socket.on('end', () => peer.send(`all ${peer.length}`).end());
          }),
        ),
      );
      const client = await open(mesh);
      client.send(Buffer.alloc(3_000_000, 'x')).end();
      await client.untilEnded();
      assert.equal(client.text, 'all 3000000');
      await client.untilTrue('the end of it', () => client.closed);
      await waitFor('all to be given back', () => mesh.settled);
    });

    test('a server that ends first still hears the client', async (t) => {
      let heard: RawPeer | undefined;
      const mesh = await startMesh(
        t,
        tcp(
          server((peer) => {
            heard = peer;
            peer.send('bye').end();
          }),
        ),
      );
      const client = await open(mesh);
      await client.untilEnded();
      client.send('late words').end();
      await waitFor('the late words', () => heard?.text === 'late words' && heard.ended);
    });

    test('megabytes both ways at once, with a reader that rests', async (t) => {
      const size = 12_000_000;
      const mesh = await startMesh(t, tcp(server((peer) => void peer.socket.pipe(peer.socket))));
      const client = await open(mesh);
      client.socket.pause();
      client.send(Buffer.alloc(size, 'y')).end();
      await waitFor('the line to fill', () => client.socket.writableLength > 0);
      client.socket.resume();
      await client.untilTrue('all of it', () => client.length === size, 20_000);
      await client.untilEnded();
    });

    test('an application that brings its own TLS has it from end to end', async (t) => {
      const ca = makeCa('elsewhere.test');
      const own = (name: string) => ca.issue({ spiffeId: `spiffe://elsewhere.test/${name}` });
      const { chainPem: cert, keyPem: key } = own('database');
      const application = createTlsServer({ cert, key, requestCert: true, rejectUnauthorized: false }, (socket) => {
        socket.write(`${socket.getPeerX509Certificate()?.subjectAltName};`);
        socket.pipe(socket);
      });
      const mesh = await startMesh(t, tcp(application));
      const { chainPem, keyPem } = own('client');
      const socket = connectTls({
        socket: (await open(mesh)).socket,
        rejectUnauthorized: false,
        cert: chainPem,
        key: keyPem,
      });
      const client = mesh.keep(new RawPeer(socket));
      await client.until('URI:spiffe://elsewhere.test/client;');
      assert.equal(socket.getPeerX509Certificate()?.subjectAltName, 'URI:spiffe://elsewhere.test/database');
      const before = client.length;
      client.send(Buffer.alloc(300_000, 'z'));
      await client.untilTrue('all of it back', () => client.length === before + 300_000);
    });

    test('a server that breaks breaks the client: no end that looks whole', async (t) => {
      const mesh = await startMesh(
        t,
        tcp(server((peer) => void peer.until('go').then(() => peer.send('half').socket.resetAndDestroy()))),
      );
      const client = await open(mesh);
      client.send('go');
      await client.untilTrue('the break', () => client.closed || client.ended);
      if (way === 'through a tunnel') assert.equal(client.fault, 'ECONNRESET');
    });

    test('a client that vanishes is not kept', async (t) => {
      const mesh = await startMesh(t, tcp(greeting('hello')));
      const client = await open(mesh);
      await client.until('hello');
      vanish(client.socket);
      await waitFor('the application to be let go', () => mesh.applicationConnections === 0);
    });

    test('an application that is down: the client is told by the end of its connection, and the log why', async (t) => {
      const mesh = await startMesh(t, tcp(undefined, { retries: { attempts: 0 } }));
      const client = await open(mesh);
      await client.untilEnded();
      assert.equal(client.length, 0);
      assert.ok(mesh.decisions.some(({ code, reason }) => code === 'SLV-4007' && reason.includes('ECONNREFUSED')));
    });
  });
}

test('an idle connection ends, one with a trickle stays', async (t) => {
  const mesh = await startMesh(
    t,
    tcp(
      server((peer) => void peer.socket.pipe(peer.socket)),
      { idleTimeoutMs: 10_000 },
    ),
  );
  const idle = mesh.dial().send('a');
  const busy = mesh.dial().send('a');
  await idle.until('a');
  await busy.until('a');
  for (let step = 1; step <= 3; step++) {
    mesh.pass(6_000);
    busy.send(`${step}`);
    await busy.until(`${step}`);
  }
  await idle.untilEnded();
  assert.equal(busy.ended, false);
});

test('bytes that a peer sends without waiting for its answer are not lost', async (t) => {
  const mesh = await startMesh(t, tcp(server((peer) => void peer.socket.pipe(peer.socket))));
  const svid = mesh.issue('web');
  const socket = connectTls({
    host: '127.0.0.1',
    port: mesh.db.inboundPort,
    rejectUnauthorized: false,
    cert: svid.chainPem,
    key: svid.keyPem,
    ALPNProtocols: ['h2'],
  });
  t.after(() => socket.destroy());
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  const tunnel = openTunnel({ socket, handlers: { onClose() {} } });
  const stream = tunnel.open('db.dc1.mesh.test:80', [], () => {});
  const told = record(stream);
  stream.write('early ');
  stream.write('bird');
  stream.end();
  await waitFor('the echo', () => Buffer.concat(told.chunks).toString() === 'early bird' && told.ended === 1);
});

test('who ends its side within a handshake has gone, and is not waited for', async (t) => {
  const mesh = await startMesh(t, tcp(greeting('hello')));
  /** A record of 512 octets, of which few come. */
  const beginning = Buffer.from('1603010200010001fc', 'hex');
  const waiting = mesh.keep(dial(mesh.db.inboundPort)).send(beginning);
  await mesh.keep(dial(mesh.db.inboundPort)).send(beginning).end().untilEnded();
  assert.ok(!waiting.ended && !waiting.closed, 'it has the time of a handshake');
});
