import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { systemContext } from '#runtime/process-context.ts';
import { dial } from '#test/raw-client.ts';
import { closedPort } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { ServiceView } from '../view/service-view.ts';
import { MeshListeners } from './mesh-listeners.ts';

/** Real listeners at addresses of 127.64.0.0/10. Each test has addresses of its own. */

function start(t: TestContext): { listeners: MeshListeners; log: Record<string, unknown>[] } {
  const log: Record<string, unknown>[] = [];
  const listeners = new MeshListeners({
    service: 'web',
    process: systemContext(pino({ level: 'debug' }, { write: (line: string) => log.push(JSON.parse(line)) })),
    maxConnections: 10,
    serve: (service, stream) => {
      stream.handlers = { ...stream.handlers, onEnd: () => stream.end() };
      stream.write(`this is ${service}`);
    },
  });
  t.after(() => listeners.close());
  return { listeners, log };
}

/** @returns what answers at an address; undefined: nothing listens there */
async function answer(host: string, port: number): Promise<string | undefined> {
  const peer = dial(port, host);
  await peer.untilTrue('an answer', () => peer.length > 0 || peer.closed);
  peer.socket.destroy();
  return peer.fault === undefined ? peer.text : undefined;
}

test('listeners appear and go with the names; what is open stays open', async (t) => {
  const { listeners } = start(t);
  const [one, other] = [await closedPort(), await closedPort()];
  listeners.setNames([{ service: 'db', address: '127.64.1.1', ports: [one, other] }]);
  assert.equal(listeners.listening, 0, 'what this host has registered is not known yet');
  listeners.setReserved(new Set());
  await waitFor('the listeners', () => listeners.listening === 2);
  assert.deepEqual(await Promise.all([one, other].map((port) => answer('127.64.1.1', port))), [
    'this is db',
    'this is db',
  ]);
  const open = dial(one, '127.64.1.1');
  await open.until('this is db');
  listeners.setNames([{ service: 'cache', address: '127.64.1.2', ports: [one] }]);
  await waitFor('the other listener', () => listeners.listening === 1);
  assert.equal(await answer('127.64.1.2', one), 'this is cache');
  assert.equal(await answer('127.64.1.1', one), undefined);
  assert.equal(open.closed, false);
  assert.equal(listeners.openConnections, 1);
  open.end();
  await open.untilEnded();
});

test('never at a port that an application of this host uses or registers: the conflict is named', async (t) => {
  const { listeners, log } = start(t);
  const application = createServer();
  t.after(() => application.close());
  const used = await new Promise<number>((resolve) =>
    application.listen(0, '0.0.0.0', () => resolve((application.address() as { port: number }).port)),
  );
  const registered = await closedPort();
  const ports = [used, registered];
  listeners.setNames([{ service: 'db', address: '127.64.2.1', ports }]);
  listeners.setReserved(new Set());
  await waitFor('the one listener', () => listeners.listening === 1);
  assert.equal(listeners.conflicts.length, 1);
  assert.match(listeners.conflicts[0]?.reason ?? '', /EADDRINUSE/);
  await waitFor('the word about it', () => log.some((line) => line['count'] === 1));
  listeners.setReserved(new Set([registered]));
  await waitFor('both conflicts', () => listeners.conflicts.length === 2);
  const mine = createServer();
  t.after(() => mine.close());
  await new Promise<void>((resolve, reject) => mine.once('error', reject).listen(registered, '0.0.0.0', resolve));
  mine.close();
  listeners.setReserved(new Set());
  await waitFor('its end', () => listeners.listening === 1);
  const { length } = log;
  listeners.setNames([{ service: 'db', address: '127.64.2.1', ports }]);
  await waitFor('the same again', () => listeners.listening === 1 && listeners.conflicts.length === 1);
  assert.equal(log.length, length, 'what is known is not told again');
});

test('a catalog says where in 127.64.0.0/10, not where else', () => {
  const view = new ServiceView('web', Date.now);
  const apply = (address: string, port = 80) =>
    view.apply(
      {
        revision: 1,
        reset: false,
        resources: [{ kind: 'mesh-names', name: 'mesh', services: [{ service: 'db', address, ports: [port] }] }],
      },
      'feed',
    );
  for (const address of ['0.0.0.0', '127.0.0.1', '127.63.0.1', '127.128.0.1', '::', 'localhost', '127.64.0.1.evil'])
    assert.equal(apply(address).length, 1, address);
  assert.equal(apply('127.64.0.1', 0).length, 1);
  assert.deepEqual(view.meshNames, []);
  assert.deepEqual(apply('127.127.255.255'), []);
  view.apply({ revision: 2, reset: true, resources: [] }, 'feed');
  assert.deepEqual(view.meshNames, []);
});
