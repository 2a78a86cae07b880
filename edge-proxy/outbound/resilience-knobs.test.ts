import assert from 'node:assert/strict';
import { createServer, type ServerResponse } from 'node:http';
import { test } from 'node:test';
import { endpoint, type Mesh, startMesh } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';

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

test('a service that is called by two names is not asked for twice as much: bulkhead and retry budget are of the destination', async (t) => {
  const waiting: ServerResponse[] = [];
  let seen = 0;
  const server = createServer((incoming, outgoing) => {
    seen += 1;
    if (incoming.url === '/wait') waiting.push(outgoing);
    else outgoing.writeHead(503).end();
  });
  const mesh = await startMesh(t, { applications: [server], upstreams: ['alias'] });
  const resilience = {
    maxConcurrent: 2,
    retries: { attempts: 1, budgetRatio: 0, budgetMinPerSecond: 1, backoffBaseMs: 1, backoffMaxMs: 1 },
    breaker: { enabled: false },
    outlier: { enabled: false },
  };
  mesh.feedUpstream({ resilience });
  const target = { service: 'db', endpoints: [endpoint(0, mesh.db.inboundPort)], resilience };
  const routing = {
    routes: [{ next: 'db' }],
    splitters: {},
    destinations: { db: { targets: ['db'] } },
    targets: { db: target },
  };
  mesh.feed(mesh.web, [{ kind: 'upstream', name: 'alias', protocol: 'http', endpoints: [], resilience: {}, routing }]);
  const ports = [mesh.port, mesh.web.outboundPorts.get('alias') ?? 0];
  const get = (path: string, port: number | undefined) =>
    mesh.ask(`GET ${path} HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n`, port);
  const within = ports.map((port) => get('/wait', port));
  await waitFor('one by each name', () => waiting.length === 2, 3_000);
  for (const port of ports) assert.match((await get('/wait', port)).text, /SLV-4006/);
  for (const outgoing of waiting) outgoing.end('well');
  for (const one of await Promise.all(within)) assert.equal(one.status, 200);
  seen = 0;
  // Within one second or over the edge of it.
  for (const port of [...ports, ...ports]) assert.equal((await get('/', port)).status, 503);
  assert.ok(seen === 5 || seen === 6, `${seen - 4} retries`);
});
