import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Agent } from 'node:http';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { parseSocketAddress } from '#runtime/socket-address.ts';
import { freePorts } from '#test/free-ports.ts';
import { startLoad } from '#test/load.ts';
import { dial } from '#test/raw-client.ts';
import { waitFor } from '#test/wait-for.ts';
import { startEcho, startHttpApplication, well } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';

/** Proxies are succeeded by new processes under load, and all of it on IPv6 where this host has it. The tests are one story, in order. */

const upgrades = 3;
const proxies = ['web', 'db'];

const loopback = Object.values(networkInterfaces())
  .flat()
  .some((each) => each?.address === '::1')
  ? '::1'
  : '127.0.0.1';
const host = loopback === '::1' ? '[::1]' : loopback;
const [agentPort = 0, dnsPort = 0, httpProxyPort = 0] = await freePorts(3);

const db = await startHttpApplication(loopback);
db.onUpgrade = (socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  socket.pipe(socket);
};
/** What `web` itself serves: bytes. So each proxy is at both ends. */
const echo = await startEcho(loopback);
const { mesh } = await setScene({ host }, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  await Promise.all([
    mesh.startProxy('web', {
      service: 'web',
      local: echo.address,
      upstreams: ['db'],
      flags: [
        ...['--agent-addr', `${host}:${agentPort}`, '--dns-addr', `${host}:${dnsPort}`],
        ...['--http-proxy-addr', `${host}:${httpProxyPort}`],
      ],
    }),
    mesh.startProxy('db', { service: 'db', local: db.address, upstreams: ['web'] }),
  ]);
  await mesh.intend('web', 'db', 'allow');
  await mesh.intend('db', 'web', 'allow');
  await Promise.all([mesh.knows(mesh.proxy('web').admin, 'db'), mesh.knows(mesh.proxy('db').admin, 'web')]);
  // A successor takes over addresses: those that the first start has found.
  await Promise.all(proxies.map((name) => mesh.kill(name, 'SIGTERM')));
  await Promise.all(proxies.map((name) => mesh.restartProxy(name)));
  await Promise.all([mesh.knows(mesh.proxy('web').admin, 'db'), mesh.knows(mesh.proxy('db').admin, 'web')]);
  return {};
});
const address = () => mesh.proxy('web').upstream('db');
const portOf = (hostAndPort: string) => parseSocketAddress(hostAndPort).port;

/** A TCP connection and a WebSocket, by both proxies, that stay open until somebody ends them. */
async function openConnections() {
  const tcp = dial(portOf(mesh.proxy('db').upstream('web')), loopback);
  const webSocket = dial(portOf(address()), loopback);
  webSocket.send('GET /live HTTP/1.1\r\nHost: db\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  const connections = [tcp, webSocket];
  /** Both carry bytes, both ways. */
  const carry = async (text: string): Promise<void> => {
    for (const connection of connections) connection.send(`${text}\n`);
    await Promise.all(connections.map((connection) => connection.until(`${text}\n`)));
  };
  await webSocket.until('101 Switching Protocols');
  await carry('opened');
  return { connections, carry };
}

test(`agent, DNS, HTTP proxy and admin serve at ${host} and name what is there`, async () => {
  const url = `http://${host}:${agentPort}`;
  const [instance] = (await (await fetch(`${url}/v1/catalog/service/db`)).json()) as {
    ServiceAddress: string;
    Address: string;
  }[];
  assert.equal(instance?.ServiceAddress || instance?.Address, loopback);
  const resolver = new Resolver({ timeout: 5_000 });
  resolver.setServers([`${host}:${dnsPort}`]);
  const [v4, v6] = await Promise.allSettled([
    resolver.resolve4('db.service.consul'),
    resolver.resolve6('db.service.consul'),
  ]);
  const [own, other] = loopback === '::1' ? [v6, v4] : [v4, v6];
  assert.deepEqual(own, { status: 'fulfilled', value: [loopback] });
  assert.equal(other.status === 'rejected' && other.reason.code, 'ENODATA');
  const status = await fetch(`${mesh.proxy('web').admin}/status`);
  assert.match(await status.text(), new RegExp(`"address":"${RegExp.escape(host)}:\\d+"`));
  // Absolute form, by a name of the mesh; an address, in whatever form, is none.
  for (const [target, expected] of [
    ['http://db.mesh/orders', 200],
    [`http://${host}:${httpProxyPort}/orders`, 421],
    [`http://${host}/orders`, 421],
  ] as const) {
    const client = dial(httpProxyPort, loopback).send(
      `GET ${target} HTTP/1.1\r\nHost: ${new URL(target).host}\r\n\r\n`,
    );
    await client.untilTrue('an answer', () => client.status !== 0);
    assert.equal(client.status, expected, target);
    client.end();
  }
  // Before an application, Host may be any address; XFCC is ours.
  const answer = await httpCall(address(), { headers: { host: `${host}:80`, 'x-forwarded-client-cert': 'By=a' } });
  assert.equal(answer.status, 200);
  const seen = db.seen.at(-1)?.headers ?? {};
  assert.equal(seen.host, `${host}:80`);
  assert.match(String(seen['x-forwarded-client-cert']), /^By=spiffe:.*\/svc\/db;URI=spiffe:.*\/svc\/web$/);
});

test('three upgrades of both proxies: no request fails, on kept connections or new ones, and none is sent twice', async (t) => {
  const agent = keepingAgent();
  db.clear();
  let sent = 0;
  // A POST is never retried: what is lost shows.
  const post = (kept?: Agent) => {
    sent += 1;
    return unlessOk(
      httpCall(address(), { method: 'POST', body: 'one', ...(kept === undefined ? {} : { agent: kept }) }),
    );
  };
  const slow = Promise.withResolvers<void>();
  db.answer = (outgoing, request) => {
    if (request.path !== '/slow') return well(outgoing, request);
    outgoing.write('begun, ');
    slow.promise.then(() => outgoing.end('done'), assert.fail);
  };
  const { connections, carry } = await openConnections();
  sent += 1;
  const slowCall = httpCall(address(), { path: '/slow', patienceMs: 120_000 });
  await waitFor('the slow call', () => db.count === 1, 20_000);
  await using kept = startLoad(() => post(agent), 4);
  await using fresh = startLoad(() => post(), 2);
  for (let upgrade = 0; upgrade < upgrades; upgrade++) {
    const before = [kept.calls(), fresh.calls()] as const;
    await Promise.all(proxies.map((name) => mesh.child(name).handOver()));
    if (upgrade === 0) {
      assert.ok(
        proxies.every((name) => mesh.child(name).predecessors > 0),
        'the slow call keeps them',
      );
      slow.resolve();
      assert.equal((await slowCall).text, 'begun, done');
    }
    await carry(`upgrade ${upgrade}`);
    await waitFor('calls behind it', () => kept.calls() > before[0] + 50 && fresh.calls() > before[1] + 25, 60_000);
  }
  const results = await Promise.all([kept.stop(), fresh.stop()]);
  t.diagnostic(`${results.map(({ calls }) => calls).join(' + ')} calls`);
  const failures = results.flatMap((result) => result.failures);
  assert.deepEqual(failures, []);
  assert.equal(db.count, sent);
  // Those that hold the two connections stay, however many have come after them; those between do not.
  await waitFor('those between to end', () => proxies.every((name) => mesh.child(name).predecessors === 1), 20_000);
  await carry('still open');
  for (const connection of connections) connection.end();
  await Promise.all(connections.map((connection) => connection.untilEnded()));
  await waitFor('those before to end', () => proxies.every((name) => mesh.child(name).predecessors === 0), 20_000);
  for (const name of proxies)
    await waitFor(
      `${name} to be ready, and to follow the catalog`,
      async () => {
        const { ready, view } = await mesh.status(mesh.proxy(name).admin);
        return ready && view.feed.kind === 'live';
      },
      20_000,
    );
});

test('one that was succeeded is told to stop: what is idle at it ends at once, what is under way has the time of any drain', async () => {
  const { connections, carry } = await openConnections();
  const idle = dial(portOf(address()), loopback).send('GET / HTTP/1.1\r\nHost: db\r\n\r\n');
  await idle.until('well\n');
  const before = mesh.child('web').pid ?? 0;
  await mesh.child('web').handOver();
  const [, parent = ''] = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${mesh.child('web').pid}/status`, 'utf8')) ?? [];
  assert.notEqual(Number(parent), before, 'a supervisor is not told of the end of what is not its child');
  // As `systemctl stop` tells all processes of the unit.
  process.kill(before, 'SIGTERM');
  await idle.untilTrue('the end of what is idle', () => idle.ended, 20_000);
  idle.end();
  await carry('going on');
  for (const connection of connections) connection.end();
  await waitFor('it to end', () => mesh.child('web').predecessors === 0, 20_000);
});

test('a breaker that an operator forced stays so through an upgrade and a restart, with its age, until it is reset', async () => {
  const breaker = async (...args: string[]) => {
    const { code, stdout, stderr } = await mesh.command(['breaker', ...args, '--admin', mesh.proxy('web').admin]);
    return { code, stdout, stderr };
  };
  assert.deepEqual(
    [(await breaker('force-open', 'dbb')).code, (await breaker('force-open', 'db', 'x')).code],
    [3, 3],
    'there is no such target, no such instance',
  );
  assert.match((await breaker('force-open', 'db')).stdout, /^web +db +\S+ +open +0s ago/m);
  await mesh.child('web').handOver();
  assert.match((await httpCall(address())).text, /SLV-4003/);
  await mesh.kill('web', 'SIGTERM');
  await mesh.restartProxy('web');
  const call = await httpCall(address());
  assert.match(call.text, /SLV-4003/);
  const { upstreams } = await mesh.status(mesh.proxy('web').admin);
  const [shown] = upstreams.flatMap(({ endpoints }) => endpoints).flatMap(({ breakers }) => breakers);
  assert.equal(shown?.state, 'open');
  assert.ok((shown?.forcedSeconds ?? 0) > 0);
  const reset = await breaker('reset', 'db');
  assert.deepEqual([reset.code, reset.stderr], [0, '']);
  assert.equal((await httpCall(address())).status, 200);
});

test('a successor that does not start changes nothing', async () => {
  const file = mesh.path('web', 'node.json');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, 'damaged');
  await assert.rejects(mesh.child('web').handOver(), /SLV-1011/);
  writeFileSync(file, text);
  assert.equal((await httpCall(address())).status, 200);
  await mesh.intend('web', 'db', 'deny');
  await waitFor('news of the catalog', async () => (await httpCall(address())).status === 403, 20_000);
  await mesh.child('web').handOver();
  assert.equal((await httpCall(address())).status, 403);
});
