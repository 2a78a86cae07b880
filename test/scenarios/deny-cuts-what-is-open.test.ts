import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { issuerKey } from '#test/jwt-issuer.ts';
import { waitFor } from '#test/wait-for.ts';
import { type Answer, openEcho, startEcho, startHttpApplication, well } from './application.ts';
import { httpCall, keepingAgent } from './http-call.ts';
import { setScene } from './scene.ts';

/** A deny holds for what is open as for what comes: it takes effect within a second of its acknowledgement, and touches nobody else. */

const deadlineMs = 1_000;
const db = await startHttpApplication();
const echo = await startEcho();

const { mesh, web, batch } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web, batch] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db', 'echo'] }),
    mesh.startProxy('batch', { service: 'batch', upstreams: ['db', 'echo'] }),
    mesh.startProxy('db', { service: 'db', local: db.address }),
    mesh.startProxy('echo', { service: 'echo', local: echo.address }),
  ]);
  for (const { admin } of [web, batch]) for (const name of ['db', 'echo']) await mesh.knows(admin, name);
  return { web, batch };
});

/** Everything is allowed again, and the proxies know. */
async function allowAll(): Promise<void> {
  db.answer = well;
  for (const source of ['web', 'batch'])
    for (const destination of ['db', 'echo']) await mesh.intend(source, destination, 'allow');
  for (const proxy of [web, batch]) {
    await waitFor('db to be allowed', async () => (await httpCall(proxy.upstream('db'))).status === 200, 20_000);
    await waitFor('echo to be allowed', async () => (await openEcho(proxy.upstream('echo'))).destroy(), 20_000);
  }
  await waitFor('the echo to be left by all', () => echo.open.size === 0, 20_000);
  db.clear();
}

/** An answer that has begun and does not end. */
function openStream(address: string, path: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const outgoing = request(`http://${address}${path}`, { agent: false }, (incoming) => {
    incoming.on('error', () => undefined); // cut
    incoming.once('data', () => resolve(incoming));
  });
  outgoing.once('error', reject);
  outgoing.end();
  return promise;
}

/** An answer without an end. */
const ticks: Answer = (outgoing) => {
  const timer = setInterval(() => outgoing.write('tick\n'), 20);
  outgoing.once('close', () => clearInterval(timer));
};

/** When a connection or an answer was cut, ms since the epoch. */
function cut(stream: Socket | IncomingMessage): Promise<number> {
  return new Promise((resolve) => stream.once('close', () => resolve(Date.now())));
}

/** Whether a connection that was left alone still carries bytes. */
async function assertAlive(socket: Socket): Promise<void> {
  socket.write('b');
  const [chunk] = (await once(socket, 'data', { signal: AbortSignal.timeout(20_000) })) as [Buffer];
  assert.equal(chunk.toString(), 'b');
}

function assertWithinDeadline(tookMs: number): void {
  assert.ok(tookMs < deadlineMs, `cut ${tookMs} ms after the write was acknowledged`);
}

test('an open TCP connection is cut at both ends, and new ones are refused', async (t) => {
  await allowAll();
  const socket = await openEcho(web.upstream('echo'));
  const other = await openEcho(batch.upstream('echo'));
  const ended = cut(socket);
  const acknowledgedMs = await mesh.intend('web', 'echo', 'deny');
  const tookMs = (await ended) - acknowledgedMs;
  t.diagnostic(`cut ${tookMs} ms after the acknowledgement`);
  assertWithinDeadline(tookMs);
  await waitFor('the application to lose its side', () => echo.open.size === 1, deadlineMs);
  await assert.rejects(openEcho(web.upstream('echo')));
  await assertAlive(other);
  other.destroy();
});

test('a streaming answer is cut; another caller’s goes on', async (t) => {
  await allowAll();
  db.answer = ticks;
  const stream = await openStream(web.upstream('db'), '/ticks');
  const other = await openStream(batch.upstream('db'), '/ticks');
  stream.resume();
  other.resume();
  const ended = cut(stream);
  const acknowledgedMs = await mesh.intend('web', 'db', 'deny');
  const tookMs = (await ended) - acknowledgedMs;
  t.diagnostic(`cut ${tookMs} ms after the acknowledgement`);
  assertWithinDeadline(tookMs);
  assert.equal(stream.complete, false, 'broken off, not ended in order');
  await once(other, 'data', { signal: AbortSignal.timeout(20_000) });
  assert.equal(other.destroyed, false);
  other.destroy();
});

test('L7: only the request that is denied now is cut', async () => {
  await allowAll();
  db.answer = ticks;
  const orders = await openStream(web.upstream('db'), '/orders');
  const salaries = await openStream(web.upstream('db'), '/salaries/all');
  orders.resume();
  salaries.resume();
  const ended = cut(salaries);
  const acknowledgedMs = await mesh.intend('web', 'db', [
    { Action: 'deny', HTTP: { PathPrefix: '/salaries' } },
    { Action: 'allow', HTTP: { PathPrefix: '/' } },
  ]);
  assertWithinDeadline((await ended) - acknowledgedMs);
  await once(orders, 'data', { signal: AbortSignal.timeout(20_000) });
  assert.equal(orders.destroyed, false);
  orders.destroy();
});

test('a pooled idle connection carries no further request to the application, and works again once allowed', async () => {
  await allowAll();
  const agent = keepingAgent();
  assert.equal((await httpCall(web.upstream('db'), { agent })).status, 200);
  db.clear();
  const acknowledgedMs = await mesh.intend('web', 'db', 'deny');
  const refused = await waitFor(
    'a refusal on the pooled connection',
    async () => {
      const answer = await httpCall(web.upstream('db'), { agent });
      return answer.status === 403 ? answer : undefined;
    },
    deadlineMs - (Date.now() - acknowledgedMs),
  );
  assert.match(String(refused.headers['selvedge-decision']), /^[0-9a-f]{12}-/);
  const seen = db.count;
  for (let call = 0; call < 10; call++) assert.equal((await httpCall(web.upstream('db'), { agent })).status, 403);
  assert.equal(db.count, seen, 'the application saw none of them');
  await mesh.intend('web', 'db', 'allow');
  const allowed = async () => (await httpCall(web.upstream('db'), { agent })).status === 200;
  await waitFor('the allow to arrive', allowed, 20_000);
});

test('an allow that is deleted is as good as a deny', async () => {
  await allowAll();
  const socket = await openEcho(web.upstream('echo'));
  const ended = cut(socket);
  await mesh.must('DELETE', '/v1/connect/intentions/exact?source=web&destination=echo');
  const acknowledgedMs = Date.now();
  assertWithinDeadline((await ended) - acknowledgedMs);
});

test('a changed protocol closes what is open, and holds from then on', async () => {
  await allowAll();
  const socket = await openEcho(web.upstream('echo'));
  const ended = cut(socket);
  await mesh.speakHttp('echo');
  await ended;
  await waitFor('echo to be asked in HTTP', async () => (await httpCall(web.upstream('echo'))).status === 502, 20_000);
  await mesh.must('DELETE', '/v1/config/service-defaults/echo');
});

test('the refusal can be looked up: who, to whom, by which rule, which reading of the path, of which revision', async () => {
  await allowAll();
  await mesh.intend('web', 'db', 'deny');
  const refused = await waitFor(
    'a refusal',
    async () => {
      const answer = await httpCall(web.upstream('db'), { path: '/orders' });
      return answer.status === 403 ? answer : undefined;
    },
    deadlineMs,
  );
  const { admin } = mesh.proxy('db');
  const decisionOf = async ({ headers }: typeof refused) =>
    (await (await fetch(`${admin}/decisions/${headers['selvedge-decision']}`)).json()) as Record<string, unknown>;
  const whole = await decisionOf(refused);
  assert.partialDeepStrictEqual(whole, {
    direction: 'inbound',
    source: 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web',
    destination: 'db',
    code: 'SLV-4001',
    rule: 'web -> db (deny)',
  });
  await mesh.intend('web', 'db', [
    { Action: 'deny', HTTP: { PathPrefix: '/salaries' } },
    { Action: 'allow', HTTP: { PathPrefix: '/' } },
  ]);
  const allowed = async () => (await httpCall(web.upstream('db'), { path: '/orders' })).status === 200;
  await waitFor('the rest to be allowed', allowed, 20_000);
  const disguised = await decisionOf(await httpCall(web.upstream('db'), { path: '/Salaries/all' }));
  assert.partialDeepStrictEqual(disguised, { rule: 'web -> db permission 1 (deny)', reading: 'folded: /salaries/all' });
  assert.ok(Number(disguised['revision']) > Number(whole['revision']));
});

test('a token is asked for as its provider and the intentions say, by whoever may call', async () => {
  await allowAll();
  const key = issuerKey('k');
  const keys = [{ ...(await exportJWK(key.publicKey)), kid: key.kid }];
  const JWKS = Buffer.from(JSON.stringify({ keys })).toString('base64');
  const Locations = [{ Header: { Name: 'authorization', ValuePrefix: 'Bearer ' } }];
  const provider = {
    Kind: 'jwt-provider',
    Name: 'okta',
    Issuer: 'okta',
    JSONWebKeySet: { Local: { JWKS } },
    Locations,
  };
  await mesh.must('PUT', '/v1/config', provider);
  const admin = { Providers: [{ Name: 'okta', VerifyClaims: [{ Path: ['role'], Value: 'admin' }] }] };
  const Permissions = [
    { Action: 'allow', HTTP: { PathPrefix: '/admin' }, JWT: admin },
    { Action: 'allow', HTTP: { PathPrefix: '/orders' } },
  ];
  await mesh.must('PUT', '/v1/config', {
    Kind: 'service-intentions',
    Name: 'db',
    JWT: { Providers: [{ Name: 'okta' }] },
    Sources: [{ Name: 'web', Permissions }],
  });
  const bearer = async (role: string) => ({
    authorization: `Bearer ${await new SignJWT({ role, iss: 'okta' })
      .setProtectedHeader({ alg: key.alg, kid: key.kid })
      .setExpirationTime('10m')
      .sign(key.privateKey)}`,
  });
  const ask = async (of: typeof web, path: string, role?: string) =>
    (await httpCall(of.upstream('db'), { path, headers: role === undefined ? {} : await bearer(role) })).status;
  await waitFor('a call without a token to be refused', async () => (await ask(web, '/orders')) === 403, 20_000);
  db.clear();
  assert.deepEqual(
    await Promise.all([ask(web, '/orders', 'user'), ask(web, '/admin', 'user'), ask(web, '/admin', 'admin')]),
    [200, 403, 200],
  );
  assert.equal(await ask(batch, '/orders', 'admin'), 403);
  assert.equal(db.count, 2);
});
