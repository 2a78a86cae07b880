import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { connect, type DetailedPeerCertificate } from 'node:tls';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { openEcho, startEcho, startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';

/** SVIDs of one minute, the shortest there are, renewed under load: nobody notices but who looks at the certificates. */

const db = await startHttpApplication();
const echo = await startEcho();
const { mesh, web, dbProxy, echoProxy } = await setScene({ identityFlags: ['--svid-ttl', '1m'] }, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web, dbProxy, echoProxy] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db', 'echo'] }),
    mesh.startProxy('db', { service: 'db', local: db.address }),
    mesh.startProxy('echo', { service: 'echo', local: echo.address }),
  ]);
  for (const name of ['db', 'echo']) {
    await mesh.intend('web', name, 'allow');
    await mesh.knows(web.admin, name);
  }
  return { web, dbProxy, echoProxy };
});

/** The certificate that a new TLS client is shown. */
async function shownAt(inbound: string): Promise<DetailedPeerCertificate> {
  const [host, port] = inbound.split(':');
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  socket.on('error', () => undefined); // it has no certificate to show, so it is sent away after the handshake
  await once(socket, 'secureConnect');
  const certificate = socket.getPeerCertificate(true);
  socket.destroy();
  return certificate;
}

const serialOf = async (admin: string): Promise<string> => (await mesh.status(admin)).svid?.serial ?? '';

test('two rotations on each side under load: no request fails, a TCP connection stays open, new clients see the new certificate', async (t) => {
  const agent = keepingAgent();
  const once1 = async () => (await httpCall(web.upstream('db'), { agent })).status === 200;
  await waitFor('web to be allowed', once1, 20_000);
  const stream = await waitFor('web to be let in at the echo', () => openEcho(web.upstream('echo')), 20_000);
  let closed = false;
  stream.once('close', () => {
    closed = true;
  });
  let sent = 0;
  let received = 0;
  stream.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  const talk = setInterval(() => {
    stream.write('x'.repeat(100));
    sent += 100;
  }, 20);
  t.after(() => {
    clearInterval(talk);
    stream.destroy();
  });

  const proxies = [web, dbProxy, echoProxy];
  const serials = proxies.map(() => new Set<string>());
  const shown = new Set<string>();
  await using load = startLoad(() => unlessOk(httpCall(web.upstream('db'), { agent })));
  await using perConnection = startLoad(() => unlessOk(httpCall(web.upstream('db'))), 1);
  await waitFor(
    'two rotations at each proxy',
    async () => {
      for (const [index, { admin }] of proxies.entries()) serials[index]?.add(await serialOf(admin));
      shown.add((await shownAt(dbProxy.inbound)).serialNumber);
      return serials.every((seen) => seen.size > 2);
    },
    75_000,
  );
  // Long enough for tunnels of the first certificates to have been replaced, or cut if that went wrong.
  const [kept, fresh] = [await load.stop(), await perConnection.stop()];
  t.diagnostic(`${kept.calls} calls on kept connections, ${fresh.calls} on new ones`);
  assert.deepEqual([kept.failures, fresh.failures], [[], []]);
  assert.ok(kept.calls > 500 && fresh.calls > 100);
  assert.ok(shown.size > 2, `a raw TLS client saw ${shown.size} certificates`);
  const current = (await serialOf(dbProxy.admin)).toUpperCase();
  assert.equal((await shownAt(dbProxy.inbound)).serialNumber.replace(/^0+/, ''), current.replace(/^0+/, ''));
  assert.equal(closed, false, 'the TCP connection is still open');
  clearInterval(talk);
  await waitFor('every byte to come back', () => received === sent, 20_000);
});
