import assert from 'node:assert/strict';
import { createServer, type Server as HttpServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { openTunnel } from '#edge-proxy/tunnel/socket-tunnel.ts';
import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import { type MiniCa, makeCa, usage } from './mini-ca.ts';
import { dialTlsPeer, RawPeer } from './raw-client.ts';
import { endpoint, intention, listening, Mesh, spiffeIdOf, startMesh } from './sidecars.ts';
import { waitFor } from './wait-for.ts';

/**
 * Peers that are not who they must be, over real TLS, at both ends: what they ask for is not forwarded, what is asked of them is not sent, and nobody else is
 * disturbed. Each leaves a line in the log or a decision.
 */

type Shown = Pick<Svid, 'chainPem' | 'keyPem'> | undefined;
const hour = 3_600_000;
const otherTrustDomain = makeCa('evil.test');

/** Every certificate that must be refused, for a peer that claims to be `service`, and the rule that refuses it. */
const badLeaves: readonly (readonly [name: string, make: (ca: MiniCa, service: string) => Shown, rule: RegExp])[] = [
  [
    'wrong trust domain',
    () => otherTrustDomain.issue({ spiffeId: 'spiffe://evil.test/ns/default/dc/dc1/svc/web' }),
    /unknown-trust-domain/,
  ],
  [
    'a leaf of ours signed by the root of another trust domain',
    (_, service) => otherTrustDomain.issue({ spiffeId: spiffeIdOf(service) }),
    /untrusted-root/,
  ],
  [
    'expired',
    (ca, service) =>
      ca.issue({ spiffeId: spiffeIdOf(service), notBeforeMs: Date.now() - 2 * hour, notAfterMs: Date.now() - hour }),
    /expired/,
  ],
  [
    'not yet valid',
    (ca, service) =>
      ca.issue({ spiffeId: spiffeIdOf(service), notBeforeMs: Date.now() + hour, notAfterMs: Date.now() + 2 * hour }),
    /not-yet-valid/,
  ],
  ['two URI SANs', (ca, service) => ca.issue({ uris: [spiffeIdOf(service), spiffeIdOf('admin')] }), /not-an-svid/],
  ['no URI SAN', (ca) => ca.issue({ dns: ['web.mesh.test'] }), /not-an-svid/],
  [
    'a CA certificate as leaf',
    (ca, service) =>
      ca.issue({ spiffeId: spiffeIdOf(service), isCa: true, keyUsage: [usage.digitalSignature, usage.keyCertSign] }),
    /not-an-svid/,
  ],
  ['self-signed', (_, service) => makeCa('mesh.test').issue({ spiffeId: spiffeIdOf(service) }), /untrusted-root/],
];

const hello = (): HttpServer =>
  createServer((request, response) => response.end(`hello ${request.headers['selvedge-source'] ?? ''}`));
const ask = 'GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n';

describe('at the inbound proxy', () => {
  let mesh: Mesh;
  /** Requests that reached the application, and those that should have. */
  let reached = 0;
  let expected = 0;
  /** A good client that goes on all the while, on one connection. */
  let good: RawPeer;
  let answers = 0;

  before(async () => {
    const application = hello().on('request', () => {
      reached += 1;
    });
    mesh = new Mesh({ applications: [application], intentions: [intention({ source: 'web', action: 'allow' })] });
    await mesh.start();
    good = mesh.dial();
  });
  after(() => mesh.close());

  /** The good client asks once more; nothing but this reached the application. */
  const undisturbed = async (): Promise<void> => {
    assert.equal(reached, expected, 'something of a bad peer was forwarded');
    expected += 1;
    answers += 1;
    good.send('GET / HTTP/1.1\r\nHost: db\r\n\r\n');
    await good.untilTrue('an answer', () => good.text.split('200 OK').length === answers + 1);
  };
  const told = (): string => JSON.stringify([mesh.log, mesh.decisions]);

  for (const way of ['a tunnel', 'plain mTLS'] as const) {
    const protocols = way === 'a tunnel' ? ['h2'] : ['http/1.1'];
    /** Knocks, asks for something if let in, and gives what came. */
    const knock = async (
      shown: Shown,
    ): Promise<{ peer: RawPeer; status: number; streamStatus: number | undefined; farewell: string | undefined }> => {
      const { peer, socket } = await dialTlsPeer(mesh.db.inboundPort, shown, { ALPNProtocols: protocols });
      mesh.keep(peer);
      let streamStatus: number | undefined;
      let farewell: string | undefined;
      if (way === 'a tunnel' && !socket.destroyed) {
        const onClose = (reason: MeshError | undefined): void => {
          farewell = reason?.message;
        };
        const tunnel = openTunnel({ socket, handlers: { onClose } });
        const stream = tunnel.open('db.dc1.mesh.test:80', [], (status) => {
          streamStatus = status;
          if (status >= 300) socket.end();
        });
        stream.write(ask);
      } else if (!socket.destroyed) {
        peer.send(ask);
      }
      await peer.untilEnded();
      peer.socket.destroy();
      return { peer, status: peer.status, streamStatus, farewell };
    };

    for (const [name, make, rule] of badLeaves) {
      test(`${name}, by ${way}`, async () => {
        mesh.log.length = 0;
        const { peer, status, streamStatus, farewell } = await knock(make(mesh.ca, 'web'));
        if (way === 'a tunnel') assert.match(farewell ?? '', /HTTP\/2 error 12: the certificate does not verify/);
        assert.equal(status, 0, peer.text);
        assert.equal(streamStatus, undefined);
        assert.match(JSON.stringify(mesh.log.map(({ err }) => err)), rule);
        await undisturbed();
      });
    }

    test(`no certificate, by ${way}`, async () => {
      const { status, streamStatus, farewell } = await knock(undefined);
      assert.deepEqual([status, streamStatus], [0, undefined]);
      assert.match(JSON.stringify(mesh.decisions[0]), /presented no certificate/);
      if (way === 'a tunnel')
        assert.match(farewell ?? '', new RegExp(`error 12: SLV-2020: no certificate.*${mesh.decisions[0]?.id}`));
      await undisturbed();
    });

    test(`the SVID of a service without an intention, by ${way}`, async () => {
      const { status, streamStatus } = await knock(mesh.issue('stranger'));
      assert.equal(way === 'a tunnel' ? streamStatus : status, 403);
      assert.match(told(), /svc\/stranger/);
      await undisturbed();
    });

    test(`an SVID that is no service's, by ${way}`, async () => {
      const { status, streamStatus } = await knock(mesh.ca.issue({ spiffeId: 'spiffe://mesh.test/host/db1' }));
      assert.equal(way === 'a tunnel' ? streamStatus : status, 403);
      assert.match(JSON.stringify(mesh.decisions[0]), /not a service of this trust domain/);
      await undisturbed();
    });

    test(`TLS 1.2, by ${way}`, async () => {
      mesh.log.length = 0;
      const { peer } = await dialTlsPeer(mesh.db.inboundPort, mesh.issue('web'), {
        ALPNProtocols: protocols,
        maxVersion: 'TLSv1.2',
      });
      mesh.keep(peer);
      await peer.untilTrue('the refusal', () => peer.closed);
      assert.match(peer.fault ?? '', /SSL|PROTO|RESET/i);
      await waitFor('a line in the log', () => told().includes('handshake failed'));
      await undisturbed();
    });

    test(`a session is not resumed, by ${way}`, async () => {
      const svid = mesh.issue('web');
      const sessions: Buffer[] = [];
      const first = await dialTlsPeer(mesh.db.inboundPort, svid, { ALPNProtocols: protocols });
      first.socket.on('session', (session) => sessions.push(session));
      mesh.keep(first.peer);
      await waitFor('what the server offers', () => sessions.length > 0 || first.peer.length > 0);
      const session = sessions[0] ?? first.socket.getSession();
      assert.ok(session !== undefined);
      first.peer.socket.destroy();
      // Without a certificate of its own, all that it has is the session.
      const again = await dialTlsPeer(mesh.db.inboundPort, undefined, { ALPNProtocols: protocols, session });
      mesh.keep(again.peer).send(ask);
      assert.equal(again.socket.isSessionReused(), false);
      await again.peer.untilEnded();
      assert.equal(again.peer.status, 0);
      await undisturbed();
    });

    test(`one that is revoked while it is connected is cut, by ${way}`, async () => {
      const svid = mesh.issue('web');
      const { peer } = await dialTlsPeer(mesh.db.inboundPort, svid, { ALPNProtocols: protocols });
      mesh.keep(peer);
      if (way === 'plain mTLS') {
        peer.send(ask.replace('Connection: close\r\n', ''));
        await peer.until('200 OK');
        expected += 1;
      }
      assert.equal(peer.ended, false);
      const startedMs = performance.now();
      mesh.db.trust.revoke(svid.serialHex);
      await peer.untilEnded();
      assert.ok(performance.now() - startedMs < 1_000);
      if (way === 'a tunnel') assert.match(peer.text, /\x00\x00\x00\x0cthe certificate does not verify$/);
      assert.match(told(), /revoked/);
      await undisturbed();
    });

    test(`one whose root leaves the bundle is cut, who hangs on another root is not, by ${way}`, async () => {
      mesh.log.length = 0;
      const other = makeCa('mesh.test');
      const both = [mesh.ca.root.certificate, other.root.certificate];
      mesh.db.trust.replace({ ...mesh.ca.bundle, sequence: 2, x509Authorities: both });
      const svid = other.issue({ spiffeId: spiffeIdOf('web') });
      const { peer } = await dialTlsPeer(mesh.db.inboundPort, svid, { ALPNProtocols: protocols });
      mesh.keep(peer);
      if (way === 'plain mTLS') {
        peer.send(ask.replace('Connection: close\r\n', ''));
        await peer.until('200 OK');
        expected += 1;
      }
      await undisturbed();
      assert.equal(peer.ended, false);
      const startedMs = performance.now();
      mesh.db.trust.replace({ ...mesh.ca.bundle, sequence: 3 });
      await peer.untilEnded();
      assert.ok(performance.now() - startedMs < 1_000);
      assert.match(told(), /untrusted-root/);
      await undisturbed();
    });
  }

  test('bytes that are no TLS', async () => {
    const peer = mesh.dial(mesh.db.inboundPort).send(ask);
    await peer.untilEnded();
    assert.ok(!peer.text.includes('HTTP/1.1 200'));
    await undisturbed();
  });
});

test('at the inbound proxy one whose SVID runs out while it is connected is cut a minute later, others stay', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const mesh = await startMesh(t, { applications: [hello()] });
  const lasting = (ms: number) => mesh.ca.issue({ spiffeId: spiffeIdOf('web'), notAfterMs: Date.now() + ms });
  const ending = lasting(hour);
  const connect = async (svid: Shown, ...protocols: readonly string[]) => {
    const { peer, socket } = await dialTlsPeer(mesh.db.inboundPort, svid, { ALPNProtocols: [...protocols] });
    mesh.keep(peer);
    if (protocols.length > 0) openTunnel({ socket, handlers: { onClose() {} } });
    else await peer.send(ask.replace('Connection: close\r\n', '')).until('200 OK');
    return peer;
  };
  const [plain, tunnel, other] = [await connect(ending), await connect(ending, 'h2'), await connect(lasting(2 * hour))];
  const look = (ms: number): void => {
    mesh.pass(ms);
    t.mock.timers.tick(15_000);
  };
  look(hour - 1_000);
  await other.send(ask.replace('Connection: close\r\n', '')).untilTrue('an answer', () => /OK.*OK/s.test(other.text));
  assert.deepEqual([plain.ended, tunnel.ended], [false, false]);
  look(62_000);
  await Promise.all([plain.untilEnded(), tunnel.untilEnded()]);
  assert.equal(other.ended, false);
});

test('TLS 1.2 where the inbound proxy takes it is judged as 1.3 is: nothing resumed, no second handshake, and secrecy that lasts', async (t) => {
  const mesh = await startMesh(t, { applications: [hello()], tlsMinVersion: '1.2' });
  const connect = async (svid: Shown, more: Parameters<typeof dialTlsPeer>[2] = {}) => {
    const found = await dialTlsPeer(mesh.db.inboundPort, svid, { maxVersion: 'TLSv1.2', ...more });
    mesh.keep(found.peer);
    return found;
  };
  const { peer, socket } = await connect(mesh.issue('web'));
  await peer.send(ask.replace('Connection: close\r\n', '')).until('200 OK', 'svc/web');
  assert.equal(socket.getProtocol(), 'TLSv1.2');
  assert.match(socket.getCipher().name, /^ECDHE-.*(?:GCM|CHACHA20)/);
  const again = { session: socket.getSession() };
  assert.equal((await connect(mesh.issue('web'), again)).socket.isSessionReused(), false);
  // Without a certificate of its own, all that it has is the session.
  const { peer: stranger } = await connect(undefined, again);
  await stranger.untilEnded();
  assert.equal(stranger.length, 0);
  socket.renegotiate({ rejectUnauthorized: false }, () => {});
  await peer.untilTrue('its end', () => peer.fault !== undefined);
  assert.match(peer.fault ?? '', /RENEGOTIATION/);
  for (const [name, make, rule] of badLeaves) {
    mesh.log.length = 0;
    const bad = await connect(make(mesh.ca, 'web'));
    await bad.peer.untilEnded();
    assert.equal(bad.peer.length, 0, name);
    assert.match(JSON.stringify(mesh.log.map(({ err }) => err)), rule);
  }
  mesh.db.svid.set(mesh.issue('db'));
  const tunnel = await connect(mesh.issue('web'), { ALPNProtocols: ['h2'] });
  const status = new Promise((resolve) =>
    openTunnel({ socket: tunnel.socket, handlers: { onClose() {} } }).open('db.dc1.mesh.test:80', [], resolve),
  );
  assert.equal(await status, 200);
});

describe('at the outbound proxy', () => {
  /** A server that shows what it is told to, and writes down every byte that it gets. */
  async function pretender(
    mesh: Mesh,
    shown: Svid,
    options: object = {},
  ): Promise<{ port: number; got: RawPeer[]; server: TlsServer }> {
    const got: RawPeer[] = [];
    const server = createTlsServer(
      {
        cert: shown.chainPem,
        key: shown.keyPem,
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
        ...options,
      },
      (socket: TLSSocket) => got.push(new RawPeer(socket)),
    );
    server.on('tlsClientError', () => {});
    const sockets = new Set<import('node:net').Socket>();
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
    mesh.defer(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return { port: await listening(server), got, server };
  }

  const cases = [
    ...badLeaves,
    [
      'the SVID of another service',
      (ca: MiniCa) => ca.issue({ spiffeId: spiffeIdOf('web') }),
      /expected was .*svc\/db/,
    ],
  ] as const;
  for (const [name, make, rule] of cases) {
    test(`${name}: no byte of a request is sent`, async (t) => {
      const mesh = await startMesh(t, {
        applications: [hello()],
        resilience: { retries: { attempts: 0 }, breaker: { enabled: false } },
      });
      const good = endpoint(0, mesh.db.inboundPort);
      const { port, got } = await pretender(mesh, make(mesh.ca, 'db') as Svid);
      mesh.feedUpstream({ endpoints: [endpoint(1, port)] });
      const answer = await mesh.ask(ask.replace('GET /', 'GET /secret'));
      assert.equal(answer.status, 502);
      assert.match(JSON.stringify([mesh.log, mesh.decisions]), rule);
      for (const peer of got) assert.equal(peer.length, 0, peer.text);
      mesh.feedUpstream({ endpoints: [good] });
      assert.match((await mesh.ask(ask)).text, /200 OK.*hello spiffe/s);
    });
  }

  test('TLS 1.2, and a protocol that is no tunnel: the same', async (t) => {
    const mesh = await startMesh(t, { applications: [hello()], resilience: { retries: { attempts: 0 } } });
    for (const options of [{ maxVersion: 'TLSv1.2' }, { ALPNProtocols: ['http/1.1'] }]) {
      const { port, got } = await pretender(mesh, mesh.issue('db'), options);
      mesh.feedUpstream({ endpoints: [endpoint(1, port)] });
      assert.equal((await mesh.ask(ask)).status, 502);
      assert.equal(
        got.map(({ length }) => length).reduce((a, b) => a + b, 0),
        0,
      );
    }
  });

  test('an endpoint that is revoked while its tunnel is open is cut and not dialled again', async (t) => {
    const mesh = await startMesh(t, {
      applications: [createServer((_, response) => void response.write('begun'))],
      resilience: { retries: { attempts: 0 } },
    });
    const client = mesh.dial().send(ask);
    await client.until('begun');
    const serial = mesh.db.svid.current?.serialHex ?? '';
    const startedMs = performance.now();
    mesh.webTrust.revoke(serial);
    await client.untilEnded();
    assert.ok(performance.now() - startedMs < 1_000);
    assert.equal((await mesh.ask(ask)).status, 502);
    assert.match(JSON.stringify(mesh.log), /revoked/);
  });

  test('an endpoint whose root leaves the bundle while its tunnel is open is cut and not called again', async (t) => {
    const mesh = await startMesh(t, {
      applications: [createServer((_, response) => void response.write('begun'))],
      resilience: { retries: { attempts: 0 } },
    });
    const client = mesh.dial().send(ask);
    await client.until('begun');
    const startedMs = performance.now();
    mesh.webTrust.replace({ ...mesh.ca.bundle, sequence: 2, x509Authorities: [makeCa('mesh.test').root.certificate] });
    await client.untilEnded();
    assert.ok(performance.now() - startedMs < 1_000);
    assert.equal((await mesh.ask(ask)).status, 502);
    assert.match(JSON.stringify(mesh.log), /untrusted-root/);
  });
});
