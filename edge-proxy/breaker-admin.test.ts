import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { endpoint, startMesh } from '#test/sidecars.ts';
import { breakerRoutes } from './breaker-admin.ts';

test('breakers are opened and closed by force, and reset, by upstream and endpoint; no web page does it', async (t) => {
  const server = createServer((_, outgoing) => outgoing.end('well'));
  const mesh = await startMesh(t, { applications: [server] });
  const app = breakerRoutes([mesh.web], mesh.context.clock, mesh.context.log);
  const post = async (path: string, headers: Record<string, string> = {}) => {
    const answer = await app.request(`http://127.0.0.1:19000/breakers/${path}`, { method: 'POST', headers });
    return { status: answer.status, text: await answer.text() };
  };
  const ask = async () => (await mesh.ask('GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n')).status;
  const shown = async () => {
    const all = (await (await app.request('http://127.0.0.1:19000/breakers')).json()) as Record<string, unknown>[];
    return all.map(({ upstream, endpoint, state, forced }) => ({ upstream, endpoint, state, forced }));
  };
  assert.equal((await post('force-open?upstream=db&endpoint=node%2Fdb0')).status, 200);
  assert.deepEqual(await shown(), [{ upstream: 'db', endpoint: 'node/db0', state: 'open', forced: true }]);
  assert.equal(await ask(), 503);
  assert.equal((await post('force-closed?upstream=db')).status, 200);
  assert.equal(await ask(), 200);
  assert.match((await post('reset?upstream=db&service=web')).text, /"forced":false/);
  assert.equal(await ask(), 200);

  // The upstream whole, then one instance on its own all the same; what comes later is held, too.
  await post('force-open?upstream=db');
  mesh.pass(90_000);
  mesh.feedUpstream({ endpoints: [endpoint(0, mesh.db.inboundPort), endpoint(7, mesh.db.inboundPort)] });
  assert.equal(await ask(), 503);
  const [first] = (await (await app.request('http://127.0.0.1:19000/breakers')).json()) as { forcedSeconds: number }[];
  assert.equal(first?.forcedSeconds, 90);
  await post('reset?upstream=db&endpoint=node%2Fdb7');
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
  assert.equal((await post('reset?upstream=db')).status, 200);
  assert.deepEqual(await shown(), [{ upstream: 'db', endpoint: 'node/db0', state: 'closed', forced: false }]);

  app.onError((error, c) => c.text(error.message, 400));
  for (const [path, headers, why] of [
    ['force-open', {}, /whose breakers/],
    ['force-open?upstream=other', {}, /upstream other; there is db\./],
    ['force-open?upstream=db&endpoint=x', {}, /No breaker of db is of x; it has node\/db0\./],
    ['force-open?upstream=db&service=api', {}, /does not stand for api/],
    ['force-open?upstream=db&endpiont=x', {}, /not by endpiont/],
    ['force-open?upstream=db&upstream=dc', {}, /one each/],
    ['force-open?upstream=db', { origin: 'http://evil.test' }, /Web pages/],
  ] as const) {
    const { status, text } = await post(path, headers);
    assert.equal(status, 400, path);
    assert.match(text, why);
  }
  assert.equal(await ask(), 200);
});
