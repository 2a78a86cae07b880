import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { dial, type RawPeer } from '#test/raw-client.ts';
import { waitFor } from '#test/wait-for.ts';
import { readFrom } from '../direct-reads.ts';
import { Unheard } from './unheard.ts';

/** Sockets that a server accepted, read as a tunnel's are, each with its other end. */
async function connections(t: TestContext, count: number): Promise<{ socket: Socket; peer: RawPeer }[]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const all: { socket: Socket; peer: RawPeer }[] = [];
  for (let at = 0; at < count; at++) {
    const peer = dial((server.address() as AddressInfo).port);
    const [socket] = (await once(server, 'connection')) as [Socket];
    readFrom(socket, () => {});
    all.push({ socket, peer });
  }
  t.after(() => {
    for (const { socket, peer } of all) for (const end of [socket, peer.socket]) end.destroy();
    server.close();
  });
  return all;
}

test('who is kept is told what was said last, is read no more, and ends after its time', async (t) => {
  const [kept] = await connections(t, 1);
  assert.ok(kept);
  const { socket, peer } = kept;
  const unheard = new Unheard(10_000);
  socket.write('calm');
  const sinceMs = performance.now();
  assert.ok(unheard.keep(socket, 'web', 300));
  await peer.until('calm');
  // More than the kernel takes for somebody who does not read.
  peer.send(Buffer.alloc(64 * 1_048_576));
  await peer.untilEnded();
  assert.ok(performance.now() - sinceMs >= 290);
  assert.equal(socket.bytesRead, 0);
  await waitFor('it to be forgotten', () => !unheard.has(socket));
});

test('few are kept at once, and each leaves its place when it goes by itself; all end when it is cleared', async (t) => {
  const [first, second, third] = await connections(t, 3);
  assert.ok(first && second && third);
  const unheard = new Unheard(32);
  assert.ok(unheard.keep(first.socket, 'web', 60_000));
  assert.ok(unheard.keep(second.socket, 'web', 60_000));
  assert.ok(!unheard.keep(third.socket, 'api', 60_000));
  first.socket.destroy();
  await waitFor('a place', () => !unheard.has(first.socket));
  assert.ok(!unheard.keep(first.socket, 'web', 60_000), 'who is gone takes none');
  assert.ok(unheard.keep(third.socket, 'api', 60_000));
  unheard.clear();
  await Promise.all([second.peer.untilEnded(), third.peer.untilEnded()]);
});

test('of one peer no more than 32 are kept', async (t) => {
  const all = await connections(t, 34);
  const unheard = new Unheard(10_000);
  const kept = all.map(({ socket }, at) => unheard.keep(socket, at === 33 ? 'api' : 'web', 60_000));
  assert.deepEqual([kept.indexOf(false), kept.lastIndexOf(false)], [32, 32]);
  unheard.clear();
});

test('those of one peer end one after the other, and nobody else waits for them', async (t) => {
  const all = await connections(t, 4);
  const unheard = new Unheard(10_000);
  const ended: number[] = [];
  for (const [at, { socket }] of all.entries()) {
    socket.once('close', () => ended.push(at));
    assert.ok(at === 3 ? unheard.keep(socket, 'api', 1) : unheard.keep(socket, 'web', 100 - at));
  }
  const sinceMs = performance.now();
  await waitFor('all to end', () => ended.length === 4);
  assert.ok(performance.now() - sinceMs >= 290);
  assert.deepEqual(ended, [3, 0, 1, 2]);
});
