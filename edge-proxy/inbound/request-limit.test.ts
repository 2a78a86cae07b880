import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { startMesh } from '#test/sidecars.ts';

test('a caller that asks too often is told when to come back; its proxy neither tries again nor opens a breaker', async (t) => {
  let seen = 0;
  const server = createServer((_, outgoing) => {
    seen += 1;
    outgoing.end('well');
  });
  const mesh = await startMesh(t, {
    applications: [server],
    resilience: { retries: { attempts: 3, on: ['5xx', 'gateway-error'] }, breaker: { volumeThreshold: 1 } },
  });
  const ask = () => mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n');
  const limit = (requestLimit?: { perSecond: number; burst: number }) =>
    mesh.feed(mesh.db.sidecar, [
      { kind: 'limits', name: 'db', ...(requestLimit === undefined ? {} : { requestLimit }) },
    ]);
  limit({ perSecond: 0.1, burst: 3 });
  for (let sent = 0; sent < 3; sent++) assert.equal((await ask()).status, 200);
  const refused = await ask();
  assert.equal(refused.status, 429);
  assert.match(refused.text, /Retry-After: 10\r\n/);
  const [, decision = ''] = /selvedge-decision: (\S+)\r\n/.exec(refused.text) ?? [];
  const found = mesh.traffic.decisions.find(decision);
  assert.deepEqual([found?.code, found?.rule, found?.direction], ['SLV-4015', 'request limit', 'inbound']);
  assert.equal(seen, 3);
  assert.equal(mesh.upstream.endpoints[0]?.breaker.state, 'closed');
  mesh.pass(10_000);
  assert.equal((await ask()).status, 200);
  limit();
  for (let sent = 0; sent < 3; sent++) assert.equal((await ask()).status, 200);
});
