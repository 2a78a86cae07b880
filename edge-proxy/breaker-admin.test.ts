import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { endpoint, startMesh } from '#test/sidecars.ts';
import { breakerRoutes } from './breaker-admin.ts';

test('breakers are opened and closed by force, and reset, by target and endpoint; no web page does it', async (t) => {
  const server = createServer((_, outgoing) => outgoing.end('well'));
  const mesh = await startMesh(t, { applications: [server] });
  const routes = breakerRoutes([mesh.web], mesh.context.clock, mesh.context.log);
  const call = async (method: string, path: string, origin?: string) => {
    const url = new URL(`http://127.0.0.1:19000/breakers${path}`);
    const answer = await routes[`${method} ${url.pathname}`]?.({ url, origin, rest: '' });
    return answer?.body ?? '';
  };
  const post = (path: string, origin?: string) => call('POST', `/${path}`, origin);
  const ask = async () => (await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n')).status;
  const shown = async () => {
    const all = JSON.parse(await call('GET', '')) as Record<string, unknown>[];
    return all.map(({ target, endpoint, state, forced }) => ({ target, endpoint, state, forced }));
  };
  await post('force-open?target=db&endpoint=node%2Fdb0');
  assert.deepEqual(await shown(), [{ target: 'db', endpoint: 'node/db0', state: 'open', forced: true }]);
  assert.equal(await ask(), 503);
  await post('force-closed?target=db');
  assert.equal(await ask(), 200);
  assert.match(await post('reset?target=db&service=web'), /"forced":false/);
  assert.equal(await ask(), 200);

  // The target whole, then one instance on its own all the same; what comes later is held, too.
  await post('force-open?target=db');
  mesh.pass(90_000);
  mesh.feedUpstream({ endpoints: [endpoint(0, mesh.db.inboundPort), endpoint(7, mesh.db.inboundPort)] });
  assert.equal(await ask(), 503);
  const [first] = JSON.parse(await call('GET', '')) as { forcedSeconds: number }[];
  assert.ok(first !== undefined && first.forcedSeconds >= 90 && first.forcedSeconds < 100, `${first?.forcedSeconds}`);
  await post('reset?target=db&endpoint=node%2Fdb7');
  assert.equal(await ask(), 200);
  assert.deepEqual(
    (await shown()).map(({ endpoint: id, state, forced }) => [id, state, forced]),
    [
      ['node/db0', 'open', true],
      ['node/db7', 'closed', false],
      ['*', 'open', true],
    ],
  );
  mesh.feedUpstream({ endpoints: [endpoint(0, mesh.db.inboundPort)] });
  await post('reset?target=db');
  assert.deepEqual(await shown(), [{ target: 'db', endpoint: 'node/db0', state: 'closed', forced: false }]);

  for (const [path, origin, why] of [
    ['force-open', undefined, /whose breakers/],
    ['force-open?target=other', undefined, /target other; there is db\./],
    ['force-open?target=db&endpoint=x', undefined, /No breaker of db is of x; it has node\/db0\./],
    ['force-open?target=db&service=api', undefined, /does not stand for api/],
    ['force-open?target=db&endpiont=x', undefined, /not by endpiont/],
    ['force-open?target=db&target=dc', undefined, /one each/],
    ['force-open?target=db', 'http://evil.test', /Web pages/],
  ] as const) {
    await assert.rejects(post(path, origin), why);
  }
  assert.equal(await ask(), 200);
});
