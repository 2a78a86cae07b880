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
  assert.match(refused.text, /Retry-After: (?:10|[5-9])\r\n/, 'ten seconds, less what the calls took');
  const [, decision = ''] = /selvedge-decision: (\S+)\r\n/.exec(refused.text) ?? [];
  const found = mesh.traffic.decisions.find(decision);
  assert.deepEqual([found?.code, found?.rule, found?.direction], ['SLV-4015', 'request limit', 'inbound']);
  assert.equal(seen, 3);
  assert.equal(mesh.breaker.state, 'closed');
  mesh.pass(10_000);
  assert.equal((await ask()).status, 200);
  limit();
  for (let sent = 0; sent < 3; sent++) assert.equal((await ask()).status, 200);
});

test('a caller turned away by one instance is tried at another where its retries list that, a POST, too', async (t) => {
  const seen = [0, 0];
  const application = (at: 0 | 1, headers: Record<string, string> = {}, status = 200) =>
    createServer((incoming, outgoing) => {
      seen[at] = (seen[at] ?? 0) + 1;
      outgoing.writeHead(incoming.url === '/limited' ? status : 200, incoming.url === '/limited' ? headers : {}).end();
    });
  const envoys = application(0, { 'X-Envoy-RateLimited': 'true' }, 429);
  const retries = { attempts: 1, on: ['envoy-ratelimited'], backoffBaseMs: 1, backoffMaxMs: 1, budgetRatio: 1 };
  const mesh = await startMesh(t, { applications: [envoys, application(1)], resilience: { retries } });
  const ask = async (method: string, path: string) =>
    (await mesh.ask(`${method} ${path} HTTP/1.1\r\nHost: db\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)).status;
  // The first instance has a limit behind it, of which only an answer tells: a POST may have been done.
  const gets = [await ask('GET', '/limited'), await ask('GET', '/limited')];
  assert.deepEqual(gets, [200, 200]);
  assert.deepEqual((await Promise.all([ask('POST', '/limited'), ask('POST', '/limited')])).toSorted(), [200, 429]);
  seen.fill(0);
  // That of its proxy stands before it.
  mesh.feed(mesh.db.sidecar, [{ kind: 'limits', name: 'db', requestLimit: { perSecond: 0.001, burst: 1 } }]);
  for (let sent = 0; sent < 6; sent++) assert.equal(await ask('POST', '/'), 200);
  assert.deepEqual(seen, [1, 5]);
});

test('an instance takes so many requests of all callers together, by path where that is said', async (t) => {
  const seen: string[] = [];
  const server = createServer((incoming, outgoing) => {
    seen.push(incoming.url ?? '');
    outgoing.end('well');
  });
  const mesh = await startMesh(t, { applications: [server], resilience: { retries: { attempts: 0 } } });
  const ask = async (path: string) =>
    (await mesh.ask(`GET ${path} HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n`)).status;
  const limits = (change: object = {}) => {
    const routes = [{ pathPrefix: '/few', limit: { perSecond: 0.1, burst: 1 } }];
    const instanceLimits = { all: { perSecond: 0.2, burst: 2 }, routes };
    mesh.feed(mesh.db.sidecar, [{ kind: 'limits', name: 'db', instanceLimits, ...change }]);
  };
  limits();
  for (const [path, status] of [
    ['/few', 200],
    ['/a/../few', 429],
    ['/', 200],
    ['/x', 200],
    ['/', 429],
  ] as const) {
    assert.equal(await ask(path), status, path);
  }
  assert.deepEqual(seen, ['/few', '/', '/x']);
  assert.deepEqual(
    [...new Set(mesh.decisions.map(({ code, rule }) => `${code} ${rule}`))],
    ['SLV-4018 instance limit'],
  );
  assert.equal(mesh.breaker.state, 'closed');
  limits({ requestLimit: { perSecond: 1_000, burst: 1_000 } });
  assert.equal(await ask('/'), 429, 'what was used up stays used up');
  mesh.pass(5_000);
  assert.deepEqual([await ask('/'), await ask('/')], [200, 429]);
});
