import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { waitFor } from '#test/wait-for.ts';
import { Door } from './door.ts';

const process = systemContext(createLogger({ process: 'edge-proxy', level: 'silent' }));
const sockets: Socket[] = [];
let door: Door | undefined;

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  door?.close();
});

interface Begun {
  readonly socket: Socket;
  /** Turns of the event loop that had gone by. */
  readonly turn: number;
}

async function openDoor(maxConnections: number): Promise<{ port: number; begun: Begun[] }> {
  const begun: Begun[] = [];
  let turn = 0;
  const begin = (socket: Socket): void => {
    begun.push({ socket, turn });
    setImmediate(() => {
      turn += 1;
    });
    sockets.push(socket);
  };
  door = new Door({ maxConnections, begin, process });
  return { port: await door.listen({ host: '127.0.0.1', port: 0 }), begun };
}

/** A client of this loopback address, connected. */
async function dial(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, localAddress });
  sockets.push(socket);
  socket.on('error', () => undefined); // to be hung up on is what some expect
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

const gone = (socket: Socket) =>
  waitFor('the end of a connection', () => socket.destroyed || socket.readableEnded, 2_000);

test('handshakes begin one by one, one source after the other, with what was said', async () => {
  const { port, begun } = await openDoor(400);
  const crowd = await Promise.all(Array.from({ length: 40 }, () => dial(port)));
  const other = await dial(port, '127.0.0.2');
  await waitFor('all to be there', () => door?.outside === 41);
  for (const socket of [...crowd, other]) socket.write('hello');
  await waitFor('all to begin', () => begun.length === 41);
  const turns = Map.groupBy(begun, ({ turn }) => turn);
  assert.equal(turns.size, 41, 'whatever else is due has its turn between two');
  // The crowd was there before it, and it did not wait for the crowd.
  assert.ok(begun.findIndex(({ socket }) => socket.remoteAddress === '127.0.0.2') < 10);
  assert.equal(begun[0]?.socket.read().toString(), 'hello');
});

test('a source that a flood has come from begins ten milliseconds apart for a second, and nobody waits for it', async () => {
  const { port, begun } = await openDoor(400);
  const crowd = await Promise.all(Array.from({ length: 50 }, () => dial(port)));
  const others = await Promise.all(Array.from({ length: 5 }, () => dial(port, '127.0.0.2')));
  await waitFor('all to be there', () => door?.outside === 55);
  const startMs = performance.now();
  door?.slow('127.0.0.1');
  for (const socket of [...others, ...crowd]) socket.write('hello');
  await waitFor('all to begin', () => begun.length === 55);
  assert.ok(performance.now() - startMs >= 500, 'fifty times ten milliseconds');
  assert.ok(begun.slice(0, -1).filter(({ socket }) => socket.remoteAddress === '127.0.0.2').length === 5);
});

test('one source has a quarter of all places, and gets back those that it leaves', async () => {
  const { port, begun } = await openDoor(8);
  const [first, second] = [await dial(port), await dial(port)];
  first.write('a');
  second.write('b');
  await waitFor('two to begin', () => begun.length === 2);
  await gone((await dial(port)).resume());
  (await dial(port, '127.0.0.2')).write('c');
  await waitFor('another source', () => begun.length === 3);
  for (const { socket } of begun) socket.destroy();
  await waitFor('a place to be free', async () => {
    (await dial(port)).write('d');
    return begun.length > 3;
  });
});

test('who closes without a word shakes no hands; who is outside when the door is cleared goes', async () => {
  const { port, begun } = await openDoor(100);
  const mute = await dial(port);
  mute.end();
  await gone(mute.resume());
  const silent = await dial(port);
  await dial(port);
  door?.clear();
  await gone(silent.resume());
  assert.equal(begun.length, 0);
});
