import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { Child } from '#test/child.ts';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { carryBodies } from './large-body.ts';
import { setScene } from './scene.ts';
import { joinAs } from './workload.ts';

/** Whatever is thrown at a listener, its process lives, the good client is served all the while, and memory stays bounded. */

const db = await startHttpApplication();
const agent = keepingAgent();
const { mesh, web, insider, listeners } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web, dbProxy, insider] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'], flags: ['--agent-addr', '127.0.0.1:0'] }),
    mesh.startProxy('db', { service: 'db', local: db.address }),
    joinAs(mesh, ['web'], 'insider'),
  ]);
  await mesh.intend('web', 'db', 'allow');
  await mesh.knows(web.admin, 'db');
  const at = (url: string) => new URL(url).host;
  const listeners: readonly Listener[] = [
    { name: 'identity', address: at(mesh.identityUrl), process: mesh.child('identity'), tls: true },
    { name: 'catalog', address: at(mesh.catalogUrl), process: mesh.child('catalog'), tls: true },
    { name: 'inbound of db', address: dbProxy.inbound, process: dbProxy.child, tls: true },
    { name: 'outbound of web', address: web.upstream('db'), process: web.child, tls: false },
    { name: 'admin of web', address: at(web.admin), process: web.child, tls: false },
    { name: 'agent of web', address: at(await web.child.fact('agent')), process: web.child, tls: false },
  ];
  return { web, insider, listeners };
});

interface Listener {
  readonly name: string;
  readonly address: string;
  readonly process: Child;
  readonly tls: boolean;
}

const call = () => httpCall(web.upstream('db'), { agent, headers: { authorization: 'of the good client' } });

/** Resident memory of a process, MiB: now, or the most since it was forgotten. */
function residentMib(child: Child, which: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(new RegExp(`${which}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1_024;
}

/** Has the most memory that a process had forgotten (proc(5), clear_refs). */
function forgetPeak(child: Child): void {
  writeFileSync(`/proc/${child.pid}/clear_refs`, '5');
}

function dial(address: string): Socket {
  const [host, port] = address.split(':');
  const socket = connectTcp(Number(port), host);
  socket.on('error', () => undefined); // to be cut off is what a hostile client expects
  return socket;
}

/** Dials with an SVID of web and an ALPN, so that what is written meets what is behind the handshake. */
async function dialTls(address: string, alpn: string, withSvid: boolean): Promise<Socket> {
  const [host, port] = address.split(':');
  const svid = insider.svid('web').current;
  assert.ok(svid);
  const credentials = withSvid ? { key: svid.keyPem, cert: svid.chainPem } : {};
  const socket = connectTls({
    host,
    port: Number(port),
    rejectUnauthorized: false,
    ALPNProtocols: [alpn],
    ...credentials,
  });
  socket.on('error', () => undefined); // to be cut off is what a hostile client expects
  await new Promise((resolve) => {
    socket.once('secureConnect', resolve);
    socket.once('close', resolve);
  });
  return socket;
}

/** Writes, and waits until the server has closed the connection or a moment has gone by without. */
async function send(socket: Socket, ...pieces: readonly (Buffer | string)[]): Promise<void> {
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.resume();
  for (const piece of pieces) if (socket.writable) socket.write(piece);
  socket.end();
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 500).unref())]);
  socket.destroy();
}

const clientHello = Buffer.concat([
  Buffer.from('160301', 'hex'),
  Buffer.from([2, 0]),
  Buffer.from([1, 0, 1, 252]),
  randomBytes(100),
]);
const get = 'GET / HTTP/1.1\r\nHost: x\r\n';

const plainAttacks: Readonly<Record<string, () => readonly (Buffer | string)[]>> = {
  'random bytes': () => [randomBytes(50_000)],
  zeros: () => [Buffer.alloc(50_000)],
  'TLS to whatever it is': () => [clientHello],
  'HTTP to whatever it is': () => [`${get}\r\n`],
  'a preface of HTTP/2': () => ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', randomBytes(10_000)],
  'a head without an end': () => [get, 'X: '.padEnd(1_000_000, 'x')],
  'ten thousand headers': () => [get, 'a: b\r\n'.repeat(10_000), '\r\n'],
  'both lengths': () => [
    `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n`,
  ],
  'a chunk of 2^63 bytes': () => [
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n',
    randomBytes(1_000),
  ],
  'NUL and bare LF': () => ['GET /\0 HTTP/1.1\nHost: x\n\n'],
  nothing: () => [],
};

for (const { name, address, process, tls } of listeners) {
  test(`${name} lives through garbage, and the good client does not notice`, async () => {
    await waitFor('web to reach db', async () => (await call()).status === 200, 20_000);
    await using load = startLoad(() => unlessOk(call()), 2);
    const attacks = Object.values(plainAttacks);
    await Promise.all(attacks.map((attack) => send(dial(address), ...attack())));
    if (tls) {
      const behind = ['h2', 'http/1.1'].flatMap((alpn) => [true, false].map((withSvid) => ({ alpn, withSvid })));
      await Promise.all(
        behind.flatMap(({ alpn, withSvid }) =>
          attacks.map(async (attack) => send(await dialTls(address, alpn, withSvid), ...attack())),
        ),
      );
    }
    assert.equal(process.running, true);
    assert.deepEqual((await load.stop()).failures, []);
    assert.equal(
      db.seen.some(({ path }) => path === '/smuggled'),
      false,
    );
    assert.doesNotMatch(process.log, /SLV-1007|internal error|"level":60/i);
  });
}

test('many who open and say nothing, or say it slowly, keep nobody from being served', async (t) => {
  const sleepers: Socket[] = [];
  t.after(() => {
    for (const socket of sleepers) socket.destroy();
  });
  for (const { address, tls } of listeners) {
    for (let count = 0; count < 100; count++) {
      const socket = dial(address);
      socket.write(tls ? clientHello.subarray(0, 20) : get);
      sleepers.push(socket);
    }
  }
  await using load = startLoad(() => unlessOk(call()), 2);
  const drip = setInterval(() => {
    for (const socket of sleepers) if (socket.writable) socket.write('x');
  }, 100);
  t.after(() => clearInterval(drip));
  await waitFor('300 calls meanwhile', () => load.calls() > 300, 60_000);
  assert.deepEqual((await load.stop()).failures, []);
  await mesh.must('GET', '/v1/catalog/services');
  assert.equal((await mesh.identity('GET', '/v1/identity/status', undefined, null)).status, 200);
  // Handshakes that do not come about within five seconds are ended.
  const handshaking = sleepers.slice(0, 300);
  await waitFor(
    'the half-open handshakes to be ended',
    () => handshaking.every(({ destroyed, readableEnded }) => destroyed || readableEnded),
    20_000,
  );
});

test('wave after wave, memory stays bounded', async (t) => {
  const wave = async (): Promise<void> => {
    const garbage = () => [randomBytes(100_000)];
    await Promise.all(
      listeners.flatMap(({ address, tls }) =>
        Array.from({ length: 10 }, async () => {
          await send(dial(address), ...garbage());
          if (tls) await send(await dialTls(address, 'h2', true), ...garbage());
        }),
      ),
    );
  };
  await wave();
  const before = new Map(mesh.children.map((child) => [child.name, residentMib(child)]));
  for (let round = 0; round < 5; round++) await wave();
  for (const child of mesh.children) {
    const [was = 0, is] = [before.get(child.name), residentMib(child)];
    t.diagnostic(`${child.name}: ${Math.round(was)} -> ${Math.round(is)} MiB`);
    // A young generation of 64 MiB fills up before it is collected: that much comes and goes.
    assert.ok(is < was + 150, `${child.name} grew from ${was} to ${is} MiB`);
  }
  assert.equal((await call()).status, 200);
});

test('a body of any size goes as it comes, up and down: no octet is lost, and no proxy holds more than a little of it', async (t) => {
  const { BODY_MIB: mib = '96' } = process.env; // `npm run test:bodies`: ten GB
  const serveBy: Parameters<typeof carryBodies>[2] = (serve) => {
    db.onRequest = serve;
  };
  t.after(() => {
    delete db.onRequest;
  });
  const none = await carryBodies(web.upstream('db'), 0, serveBy);
  assert.deepEqual([none.up.heard, none.down.heard], [none.up.sent, none.down.sent]);
  const proxies = [web.child, mesh.child('db')];
  const before = proxies.map((child) => residentMib(child));
  for (const child of proxies) forgetPeak(child);
  const startedMs = performance.now();
  const { up, down } = await carryBodies(web.upstream('db'), Number(mib) * 1_048_576, serveBy);
  t.diagnostic(`${mib} MiB up and as many down in ${Math.round(performance.now() - startedMs)} ms`);
  assert.deepEqual([up.heard, down.heard], [up.sent, down.sent]);
  const growth = proxies.map((child, index) => {
    const [was = 0, peak] = [before[index], residentMib(child, 'VmHWM')];
    t.diagnostic(`${child.name}: ${Math.round(was)} MiB before, ${Math.round(peak)} MiB at the most`);
    return peak - was;
  });
  // On a busy machine two hundred of what has gone wait to be collected: only a long body tells. What is under way, back-pressure's tests count to the byte.
  if (Number(mib) > 1_024) assert.ok(Math.max(...growth) < 400, `${growth} MiB`);
});
