import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { after, describe, test } from 'node:test';
import { connect, createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { type MiniCa, makeCa, staticTrust } from '#test/mini-ca.ts';
import type { Svid } from './svid/svid.ts';
import { type VerifiedPeer, verifySocket } from './svid/verify-peer.ts';
import {
  clientTlsOptions,
  dialTls,
  keyExchangeGroups,
  secureContextOptions,
  serverTlsOptions,
} from './tls-identity.ts';

const ca = makeCa('mesh.test');
const trust = staticTrust(ca.bundle);
const id = (service: string, domain = 'mesh.test') => `spiffe://${domain}/ns/default/dc/dc1/svc/${service}`;
const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
});

/** A server that judges its clients and writes what came of it. */
async function listen(
  svid: Svid,
  more: TlsOptions = {},
): Promise<{ server: Server; port: number; verdicts: (VerifiedPeer | Error)[] }> {
  const verdicts: (VerifiedPeer | Error)[] = [];
  const server = createServer({ ...serverTlsOptions(svid), ...more }, (socket) => {
    socket.on('error', () => undefined);
    try {
      verdicts.push(verifySocket(socket, trust, Date.now()));
      socket.end('hello');
    } catch (error) {
      assert.ok(error instanceof Error);
      verdicts.push(error);
      socket.destroy();
    }
  });
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port, verdicts };
}

async function textOf(socket: TLSSocket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

function dial(port: number, svid: Svid | undefined, expected: { peer?: VerifiedPeer } = {}): Promise<TLSSocket> {
  return dialTls({
    host: '127.0.0.1',
    port,
    svid,
    judge: (socket) => Object.assign(expected, { peer: verifySocket(socket, trust, Date.now()) }),
  });
}

describe('mutual TLS', () => {
  test('each side verifies the other through chains of several intermediates', async () => {
    const deep = (of: MiniCa) => of.root.intermediate().intermediate();
    const { port, verdicts } = await listen(deep(ca).issue({ spiffeId: id('db') }));
    const seen: { peer?: VerifiedPeer } = {};
    const socket = await dial(port, deep(ca).issue({ spiffeId: id('web') }), seen);
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    assert.equal(await textOf(socket), 'hello');
    assert.equal(seen.peer?.spiffeId, id('db'));
    assert.equal((verdicts[0] as VerifiedPeer).spiffeId, id('web'));
  });

  test('a client without certificate, or with one of another trust domain, gets nothing', async () => {
    const { port, verdicts } = await listen(ca.issue({ spiffeId: id('db') }));
    for (const svid of [undefined, makeCa('mesh.test').issue({ spiffeId: id('web') })]) {
      const socket = await dial(port, svid);
      socket.on('error', () => undefined);
      assert.equal(await textOf(socket).catch(() => ''), '');
    }
    assert.deepEqual(
      verdicts.map((verdict) => isMeshError(verdict, 'SLV-2020') && verdict.detail['rule']),
      ['no-certificate', 'untrusted-root'],
    );
  });

  test('a server that is not verified gets not a byte', async () => {
    const received: Buffer[] = [];
    const server = createServer(serverTlsOptions(makeCa('mesh.test').issue({ spiffeId: id('db') })), (socket) => {
      socket.on('error', () => undefined).on('data', (chunk: Buffer) => received.push(chunk));
    });
    servers.push(server.listen(0, '127.0.0.1'));
    await once(server, 'listening');
    await assert.rejects(dial((server.address() as AddressInfo).port, undefined), (error) =>
      isMeshError(error, 'SLV-2020'),
    );
    assert.deepEqual(received, []);
  });

  test('shakes hands in a hybrid post-quantum group where OpenSSL has it', async () => {
    const { port } = await listen(ca.issue({ spiffeId: id('db') }));
    const socket = await dial(port, ca.issue({ spiffeId: id('web') }));
    const info = socket.getEphemeralKeyInfo();
    if (keyExchangeGroups.startsWith('X25519MLKEM768'))
      assert.ok(info !== null && 'name' in info && info.name === 'X25519MLKEM768');
    socket.destroy();
  });

  test('nothing listening, a listener that is silent, an abort: an error, soon', async () => {
    await assert.rejects(dial(1, undefined), (error) => isMeshError(error, 'SLV-1006'));
    const abort = new AbortController();
    const { port } = await listen(ca.issue({ spiffeId: id('db') }));
    const pending = dialTls({ host: '127.0.0.1', port, judge: () => undefined, signal: abort.signal });
    abort.abort(new Error('enough'));
    await assert.rejects(pending, /enough/);
  });
});

describe('no resumption', () => {
  /** Connects as a careless or malicious client would: with the session of an earlier connection. */
  async function twice(server: Server, port: number): Promise<{ sessions: number; reused: boolean }> {
    let session: Buffer | undefined;
    let sessions = 0;
    const options = { ...clientTlsOptions(ca.issue({ spiffeId: id('web') })), host: '127.0.0.1', port };
    const first = connect(options);
    first.on('session', (data: Buffer) => {
      sessions += 1;
      session = data;
    });
    await textOf(first);
    assert.ok(
      session !== undefined,
      'the server sent a session, as TLS 1.3 servers do, so there is something to offer',
    );
    const second = connect({ ...options, session });
    let reused = false;
    second.once('secureConnect', () => {
      reused = second.isSessionReused();
    });
    await textOf(second).catch(() => undefined);
    server.close();
    return { sessions, reused };
  }

  test('a session that a client offers is not resumed', async () => {
    const { server, port } = await listen(ca.issue({ spiffeId: id('db') }));
    const { reused } = await twice(server, port);
    assert.equal(reused, false);
  });

  test('where a server is made to resume, the verifier refuses the connection', async () => {
    const careless = { secureOptions: 0, sessionIdContext: 'shared' };
    const { server, port, verdicts } = await listen(ca.issue({ spiffeId: id('db') }), careless);
    const { reused } = await twice(server, port);
    assert.equal(reused, true, 'Node resumes mTLS sessions when it is left to itself');
    assert.equal((verdicts[0] as VerifiedPeer).spiffeId, id('web'));
    assert.ok(isMeshError(verdicts[1], 'SLV-2020') && verdicts[1].detail['rule'] === 'resumed-session');
  });
});

test('rotation: new handshakes show the new SVID, an open connection goes on', async () => {
  const [before, later] = [ca.issue({ spiffeId: id('db') }), ca.issue({ spiffeId: id('db') })];
  const server = createServer(serverTlsOptions(before), (socket) => socket.on('error', () => undefined).pipe(socket));
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const seen: { peer?: VerifiedPeer } = {};
  const open = await dial(port, undefined, seen);
  assert.equal(seen.peer?.serialHex, before.serialHex);
  server.setSecureContext(secureContextOptions(later));
  const fresh = await dial(port, undefined, seen);
  assert.equal(seen.peer?.serialHex, later.serialHex);
  open.write('still here');
  const [echo] = await once(open, 'data');
  assert.equal(String(echo), 'still here');
  open.destroy();
  fresh.destroy();
});
