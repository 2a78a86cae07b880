import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { ListeningSockets } from './listening-sockets.ts';
import { formatSocketAddress, type SocketAddress } from './socket-address.ts';

const fixture = join(import.meta.dirname, 'listening-sockets.fixture.ts');

test('a process listens with the sockets it was started with, in whatever order: what waited in their queues is served', async (t) => {
  const sockets = new ListeningSockets();
  const servers = ['127.0.0.1', '::1', '127.0.0.1'].map((host) => ({ host, server: createServer() }));
  const places: (SocketAddress & { server: Server })[] = [];
  for (const { host, server } of servers)
    places.push({ host, port: await sockets.listen(server, { host, port: 0 }), server });
  const descriptors = sockets.descriptors;
  assert.equal(descriptors.length, 3);
  const [first, second, unused] = places.map(formatSocketAddress);
  const child = spawn(process.execPath, [fixture, '3', second ?? '', first ?? ''], {
    stdio: ['ignore', 'pipe', 'pipe', ...descriptors],
  });
  t.after(() => child.kill());
  // From here on nobody accepts but the child.
  for (const { server } of places) server.close();
  assert.deepEqual(sockets.descriptors, []);
  const answers = places.slice(0, 2).map(({ host, port }) => text(connect({ host, port })));
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output?.on('data', (chunk) => {
      said += chunk;
    });
  assert.deepEqual(await Promise.all(answers), [`${child.pid}\n`, `${child.pid}\n`]);
  child.kill();
  await once(child, 'close');
  assert.match(said, /listening 2/);
  assert.ok(said.includes(`"addresses":["${unused}"]`), said);
});
