import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { endpoint, type Mesh, startMesh } from '#test/sidecars.ts';

/** Knobs of /v1/mesh/resilience as the instances see them. */

/** An application that answers after a while, and counts. */
function slowBy(delay: { ms: number }) {
  const counted = { seen: 0 };
  const server = createServer((_, outgoing) => {
    counted.seen += 1;
    setTimeout(() => outgoing.end('well'), delay.ms);
  });
  return { server, counted };
}

const ask = async (mesh: Mesh): Promise<number> =>
  (await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n')).status;

test('an instance that answers well but slowly is left in peace', async (t) => {
  const delay = { ms: 60 };
  const { server, counted } = slowBy(delay);
  const mesh = await startMesh(t, {
    applications: [server],
    resilience: { breaker: { volumeThreshold: 3, openMs: 60_000, slowCalls: { durationMs: 50, rate: 1 } } },
  });
  for (let sent = 0; sent < 3; sent++) assert.equal(await ask(mesh), 200);
  for (let sent = 0; sent < 4; sent++) assert.equal(await ask(mesh), 503);
  assert.equal(counted.seen, 3);
  assert.equal(mesh.upstream.endpoints[0]?.breaker.snapshot().failures, 0, 'none of them failed');
  mesh.feedUpstream({ resilience: {} });
  mesh.upstream.endpoints[0]?.breaker.reset();
  for (let sent = 0; sent < 4; sent++) assert.equal(await ask(mesh), 200);
});

test('below the panic threshold those that are critical are called, too', async (t) => {
  const [well, ill] = [slowBy({ ms: 0 }), slowBy({ ms: 0 })];
  const mesh = await startMesh(t, { applications: [well.server, ill.server] });
  const endpoints = mesh.instances.map(({ inboundPort }, at) =>
    endpoint(at, inboundPort, at === 1 ? { status: 'critical' } : {}),
  );
  for (const [resilience, seen] of [
    [{}, [6, 0]],
    [{ panicThreshold: 0.5 }, [6, 0]],
    [{ panicThreshold: 0.6 }, [3, 3]],
  ] as const) {
    well.counted.seen = 0;
    ill.counted.seen = 0;
    mesh.feedUpstream({ endpoints, resilience });
    for (let sent = 0; sent < 6; sent++) assert.equal(await ask(mesh), 200);
    assert.deepEqual([well.counted.seen, ill.counted.seen], seen, JSON.stringify(resilience));
  }
});
