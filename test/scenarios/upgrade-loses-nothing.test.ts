import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Agent } from 'node:http';
import { test } from 'node:test';
import { startLoad } from '#test/load.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication, well } from './application.ts';
import { httpCall, keepingAgent, unlessOk } from './http-call.ts';
import { setScene } from './scene.ts';
import { webCallsDb } from './web-calls-db.ts';

/** Proxies are succeeded by new processes under load. The tests are one story, in order. */

const upgrades = 3;
const proxies = ['web', 'db'];

const db = await startHttpApplication();
const { mesh } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await webCallsDb(mesh, db);
  // A successor takes over addresses: those that the first start has found.
  await Promise.all(proxies.map((name) => mesh.kill(name, 'SIGTERM')));
  await Promise.all(proxies.map((name) => mesh.restartProxy(name)));
  await mesh.knows(mesh.proxy('web').admin, 'db');
  return {};
});
const address = () => mesh.proxy('web').upstream('db');

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
  sent += 1;
  const slowCall = httpCall(address(), { path: '/slow' });
  await waitFor('the slow call', () => db.count === 1, 5_000);
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
    await waitFor('calls behind it', () => kept.calls() > before[0] + 50 && fresh.calls() > before[1] + 25, 20_000);
  }
  const results = await Promise.all([kept.stop(), fresh.stop()]);
  t.diagnostic(`${results.map(({ calls }) => calls).join(' + ')} calls`);
  const failures = results.flatMap((result) => result.failures);
  assert.deepEqual(failures, []);
  assert.equal(db.count, sent);
  await waitFor('those before to end', () => proxies.every((name) => mesh.child(name).predecessors === 0), 10_000);
  for (const name of proxies) {
    const { ready, view } = await mesh.status(mesh.proxy(name).admin);
    assert.deepEqual([ready, view.feed.kind], [true, 'live']);
  }
});

test('a successor that does not start changes nothing', async () => {
  const file = mesh.path('web', 'node.json');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, 'damaged');
  await assert.rejects(mesh.child('web').handOver(), /SLV-1011/);
  writeFileSync(file, text);
  assert.equal((await httpCall(address())).status, 200);
  await mesh.intend('web', 'db', 'deny');
  await waitFor('news of the catalog', async () => (await httpCall(address())).status === 403, 5_000);
  await mesh.child('web').handOver();
  assert.equal((await httpCall(address())).status, 403);
});
