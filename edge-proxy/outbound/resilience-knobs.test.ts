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
  assert.equal(mesh.breaker.snapshot().failures, 0, 'none of them failed');
  mesh.feedUpstream({ resilience: {} });
  mesh.breaker.reset();
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

test('a service that is called by two names is not asked for twice as much: bulkhead and retry budget are of the target', async (t) => {
  const waiting: ServerResponse[] = [];
  let seen = 0;
  const server = createServer((incoming, outgoing) => {
    seen += 1;
    if (incoming.url === '/wait') waiting.push(outgoing);
    else outgoing.writeHead(503).end();
  });
  const mesh = await startMesh(t, { applications: [server], upstreams: ['alias'] });
  mesh.stopClock();
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
  await waitFor('one by each name', () => waiting.length === 2);
  for (const port of ports) assert.match((await get('/wait', port)).text, /SLV-4006/);
  for (const outgoing of waiting) outgoing.end('well');
  for (const one of await Promise.all(within)) assert.equal(one.status, 200);
  seen = 0;
  for (const port of [...ports, ...ports]) assert.equal((await get('/', port)).status, 503);
  assert.equal(seen, 5, 'one retry within a second, by whichever name');
});

/** An application that answers with a status, and keeps when each request came. */
function answering(status: { code: number }) {
  const times: number[] = [];
  const server = createServer((incoming, outgoing) => {
    times.push(performance.now());
    incoming.resume().on('end', () => outgoing.writeHead(status.code).end());
  });
  return { server, times, status };
}

const quick = { backoffBaseMs: 1, backoffMaxMs: 1, budgetRatio: 1, budgetMinPerSecond: 100 };
const noBreaker = { breaker: { enabled: false } };

test('round-robin keeps to weights; chance reaches all', async (t) => {
  const [one, two] = [answering({ code: 200 }), answering({ code: 200 })];
  const mesh = await startMesh(t, { applications: [one.server, two.server] });
  const endpoints = mesh.instances.map(({ inboundPort }, at) =>
    endpoint(at, inboundPort, { weight: at === 0 ? 3 : 1 }),
  );
  mesh.feedUpstream({ endpoints, resilience: {} });
  for (let sent = 0; sent < 8; sent++) assert.equal(await ask(mesh), 200);
  assert.deepEqual([one.times.length, two.times.length], [6, 2]);
  mesh.feedUpstream({ resilience: { balancer: 'random' } });
  for (let sent = 0; sent < 24; sent++) assert.equal(await ask(mesh), 200);
  assert.ok(one.times.length > 6 && two.times.length > 2, `${one.times.length} and ${two.times.length}`);
});

test('who fails time after time is left out, but never more than a share of all, and comes back when its time is over', async (t) => {
  const all = [503, 503, 200].map((code) => answering({ code }));
  const mesh = await startMesh(t, {
    applications: all.map(({ server }) => server),
    resilience: {
      ...noBreaker,
      retries: { attempts: 0 },
      outlier: { consecutiveFailures: 2, baseEjectionMs: 100_000, maxEjectionMs: 150_000, maxEjectedRatio: 0.34 },
    },
  });
  const seen = async (requests: number) => {
    for (const each of all) each.times.length = 0;
    for (let sent = 0; sent < requests; sent++) await ask(mesh);
    return all.map(({ times }) => times.length);
  };
  assert.equal(Math.min(...(await seen(12)).slice(0, 2)), 2, 'one is out after two');
  const others = await seen(12);
  assert.deepEqual(others.toSorted(), [0, 6, 6], 'the other stays in: no more than a third are out');
  for (const [at, { status }] of all.entries()) if (others[at] !== 0) status.code = 200;
  mesh.pass(100_001);
  assert.deepEqual((await seen(12)).toSorted(), [2, 5, 5], 'it comes back, and fails');
  mesh.pass(140_000);
  assert.deepEqual((await seen(12)).toSorted(), [0, 6, 6], 'for longer the second time');
  mesh.pass(10_001);
  for (const { status } of all) status.code = 200;
  assert.deepEqual(await seen(12), [4, 4, 4], 'but no longer than that');
});

test('what failed longer ago than the window is forgotten', async (t) => {
  const { server, times } = answering({ code: 503 });
  const breaker = { volumeThreshold: 4, windowMs: 5_000, openMs: 60_000 };
  const resilience = { breaker, outlier: { enabled: false }, retries: { attempts: 0 } };
  const mesh = await startMesh(t, { applications: [server], resilience });
  mesh.stopClock();
  for (let sent = 0; sent < 3; sent++) await ask(mesh);
  mesh.pass(5_001);
  for (let sent = 0; sent < 8; sent++) await ask(mesh);
  assert.equal(times.length, 3 + 4, 'four within one window open it');
});

test('pauses between tries double up to their bound', async (t) => {
  const { server, times } = answering({ code: 503 });
  const mesh = await startMesh(t, {
    applications: [server],
    random: () => 0.999,
    resilience: { ...noBreaker, retries: { ...quick, attempts: 3, backoffBaseMs: 40, backoffMaxMs: 60 } },
  });
  assert.equal(await ask(mesh), 503);
  const gaps = times.slice(1).map((time, at) => time - (times[at] ?? 0));
  assert.equal(gaps.length, 3);
  for (const [at, least] of [39, 59, 59].entries()) assert.ok((gaps[at] ?? 0) >= least - 2, gaps.join(' '));
});

test('what is tried again: by condition, status, method and size of the body', async (t) => {
  const { server, times, status } = answering({ code: 503 });
  const mesh = await startMesh(t, { applications: [server] });
  for (const [code, retries, request, tries] of [
    [503, {}, 'GET', 2],
    [500, {}, 'GET', 1],
    [500, { on: ['5xx'] }, 'GET', 2],
    [503, { on: ['connect-failure'] }, 'GET', 1],
    [418, { on: [], statuses: [418] }, 'GET', 2],
    [503, {}, 'POST', 1],
    [503, { retryNonIdempotent: true }, 'POST', 2],
    [503, { maxBodyBytes: 4 }, 'PUT four', 2],
    [503, { maxBodyBytes: 4 }, 'PUT fives', 1],
    [503, { budgetRatio: 0, budgetMinPerSecond: 0 }, 'GET', 1],
  ] as const) {
    times.length = 0;
    status.code = code;
    const resilience = { ...noBreaker, outlier: { enabled: false }, retries: { ...quick, attempts: 1, ...retries } };
    mesh.feedUpstream({ resilience });
    const [method = '', body = ''] = request.split(' ');
    const head = `${method} / HTTP/1.1\r\nHost: db\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
    assert.equal((await mesh.ask(head + body)).status, code);
    assert.equal(times.length, tries, `${code} ${JSON.stringify(retries)} ${request}`);
  }
});

test('what the caller says of its calls goes over the policy of who is called, from the moment on that it is told', async (t) => {
  const all = [503, 503].map((code) => answering({ code }));
  const mesh = await startMesh(t, {
    applications: all.map(({ server }) => server),
    resilience: { ...noBreaker, retries: { attempts: 0 }, outlier: { consecutiveFailures: 100 } },
  });
  const told = (calling: object) => mesh.feed(mesh.web, [{ kind: 'limits', name: 'web', calling }]);
  const seen = () => all.map(({ times }) => times.length).toSorted();
  const ejects = { outlier: { consecutiveFailures: 1, maxEjectedRatio: 0.5, baseEjectionMs: 60_000 } };
  told({ defaults: { maxConcurrentRequests: 0 }, upstreams: { db: ejects } });
  for (let sent = 0; sent < 4; sent++) await ask(mesh);
  assert.deepEqual(seen(), [1, 3], 'one is ejected at once');
  told({ defaults: { maxConcurrentRequests: 0 } });
  assert.match((await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n')).text, /SLV-4006/);
  assert.deepEqual(seen(), [1, 3]);
  mesh.feed(mesh.web, [{ kind: 'limits', name: 'web' }]);
  for (let sent = 0; sent < 2; sent++) await ask(mesh);
  assert.equal(Math.max(...seen()) + Math.min(...seen()), 6);
});
