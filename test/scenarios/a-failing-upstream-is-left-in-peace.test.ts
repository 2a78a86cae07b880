import assert from 'node:assert/strict';
import { type ClientRequest, request, type ServerResponse } from 'node:http';
import { beforeEach, test } from 'node:test';
import type { z } from 'zod';
import type { resilienceSchema } from '#policies/resilience-form.ts';
import { waitFor } from '#test/wait-for.ts';
import { startHttpApplication, status, well } from './application.ts';
import { type Call, httpCall, keepingAgent } from './http-call.ts';
import { breakers, setPolicy } from './resilience.ts';
import { setScene } from './scene.ts';

/** Retries, timeouts, breaker and bulkhead as the upstream sees them. One policy after the other is pushed live; nothing is restarted. */

const db = await startHttpApplication();
const agent = keepingAgent();
const { mesh, web } = await setScene({}, async (mesh) => {
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  const [web] = await Promise.all([
    mesh.startProxy('web', { service: 'web', upstreams: ['db'] }),
    mesh.startProxy('db', { service: 'db', local: db.address }),
  ]);
  await mesh.intend('web', 'db', [
    { Action: 'deny', HTTP: { PathPrefix: '/denied' } },
    { Action: 'allow', HTTP: { PathPrefix: '/' } },
  ]);
  await mesh.knows(web.admin, 'db');
  return { web };
});

const off = { breaker: { enabled: false }, outlier: { enabled: false }, retries: { attempts: 0 } };
const generous = { budgetRatio: 1, budgetMinPerSecond: 1_000, backoffBaseMs: 1, backoffMaxMs: 5 };
const call = (options: Call = {}) => httpCall(web.upstream('db'), { agent, ...options });
const policy = (of: z.input<typeof resilienceSchema>) =>
  setPolicy(mesh, { name: 'web', service: 'web' }, 'db', { ...off, ...of });
const breaker = async () => (await breakers(web))[0];

/** Goes away as a killed process does: by a reset. A mere end is a caller that sends no more and still reads. */
function vanish(outgoing: ClientRequest): void {
  outgoing.socket?.resetAndDestroy();
}

beforeEach(async () => {
  db.answer = well;
  await policy({}); // a breaker that is switched off forgets
  await waitFor('web to reach db', async () => (await call()).status === 200, 20_000);
  db.clear();
});

test('what is idempotent is tried again as often as the policy says; a POST goes once', async () => {
  db.answer = status(503);
  assert.equal((await call()).status, 503);
  assert.equal(db.count, 1, 'no retries, no second try');
  await policy({ retries: { ...generous, attempts: 2, on: ['gateway-error', 'reset'] } });
  for (const [method, tries] of [
    ['GET', 3],
    ['PUT', 3],
    ['DELETE', 3],
    ['POST', 1],
    ['PATCH', 1],
  ] as const) {
    db.clear();
    assert.equal((await call({ method, ...(method === 'GET' ? {} : { body: 'x=1' }) })).status, 503, method);
    assert.equal(db.count, tries, method);
    const bodies = db.seen.map(({ body }) => body);
    assert.deepEqual(bodies, Array(tries).fill(method === 'GET' ? '' : 'x=1'), 'each try carries the whole body');
  }
  // Broken off with the outcome unknown: the application may have done it.
  db.answer = (outgoing) => outgoing.destroy();
  db.clear();
  assert.equal((await call({ method: 'POST' })).status, 502);
  assert.equal(db.count, 1, 'a POST that was broken off');
  db.clear();
  assert.equal((await call()).status, 502);
  // The proxy beside the application takes a kept connection that breaks without an answer for one that was closed meanwhile, and uses a fresh one.
  assert.ok(db.count >= 3 && db.count <= 6, `${db.count} tries`);
});

test('an application’s own no is no failure: 4xx and 500 are not tried again', async () => {
  await policy({ retries: { ...generous, attempts: 2, on: ['gateway-error', 'reset', 'connect-failure', 'refused'] } });
  for (const code of [400, 403, 404, 429, 500]) {
    db.answer = status(code);
    db.clear();
    assert.equal((await call()).status, code);
    assert.equal(db.count, 1, String(code));
  }
});

test('the budget keeps retries from becoming a storm', async () => {
  await policy({
    retries: { ...generous, attempts: 3, on: ['gateway-error'], budgetRatio: 0.2, budgetMinPerSecond: 0 },
  });
  db.answer = status(503);
  const requests = 100;
  for (let sent = 0; sent < requests; sent++) await call();
  const retries = db.count - requests;
  // The requests of the ten seconds before count too: the tests before made some.
  assert.ok(retries > 5 && retries <= 0.2 * (requests + 100), `${retries} retries of ${requests} requests`);
});

test('a try and a request end in time, with 504, and the upstream is let go', async () => {
  let open = 0;
  db.answer = (outgoing) => {
    open += 1;
    outgoing.once('close', () => {
      open -= 1;
    });
  };
  await policy({ perTryTimeoutMs: 300, requestTimeoutMs: 14_000 });
  const alone = await call();
  assert.equal(alone.status, 504);
  assert.match(alone.text, /SLV-4004/);
  assert.ok(alone.ms >= 290 && alone.ms < 10_000, `${alone.ms} ms`);
  // None, where it was over on the way.
  assert.ok(db.count <= 1, `${db.count} tries`);

  db.clear();
  await policy({
    perTryTimeoutMs: 300,
    requestTimeoutMs: 1_000,
    retries: { ...generous, attempts: 10, on: ['timeout'] },
  });
  const tried = await call();
  assert.equal(tried.status, 504);
  assert.ok(tried.ms >= 890, `${tried.ms} ms`);
  assert.ok(db.count <= 4, `${db.count} tries: there is time for no more`);
  await waitFor('the upstream to be let go', () => open === 0, 20_000);
});

test('the breaker opens, leaves the upstream in peace, probes with one call at a time, and closes', async () => {
  const of = { enabled: true, errorRate: 0.5, volumeThreshold: 6, closeAfterSuccesses: 2 };
  // Open it stays open, however slow this machine is: until a policy with another window has it wait anew, and not for long.
  let windowMs = 10_000;
  const staysOpen = () => policy({ breaker: { ...of, windowMs, openMs: 60_000 } });
  const halfOpens = async () => {
    windowMs += 1;
    await policy({ breaker: { ...of, windowMs, openMs: 100 } });
    await waitFor('half-open', async () => (await breaker())?.state === 'half-open', 20_000);
    await staysOpen();
  };
  await staysOpen();
  db.answer = status(500);
  for (let sent = 0; sent < 6; sent++) assert.equal((await call()).status, 500);
  assert.equal((await breaker())?.state, 'open');
  for (let sent = 0; sent < 10; sent++) {
    const refused = await call();
    assert.equal(refused.status, 503);
    assert.match(refused.text, /SLV-4003/);
  }
  assert.equal(db.count, 6, 'nothing reached it while the breaker was open');

  await halfOpens();
  assert.equal((await call()).status, 500, 'the probe');
  assert.equal((await breaker())?.state, 'open', 'a probe that fails opens it again');
  assert.equal(db.count, 7);

  const waiting: ServerResponse[] = [];
  db.answer = (outgoing) => waiting.push(outgoing);
  await halfOpens();
  // Which of them is the probe is not said: each has a connection of its own.
  let refused = 0;
  const many = Array.from({ length: 10 }, async () => {
    const answer = await call();
    refused += answer.status === 503 ? 1 : 0;
    return answer.status;
  });
  await waitFor('one to arrive and nine to be refused', () => waiting.length === 1 && refused === 9, 15_000);
  assert.equal(db.count, 8, 'one probe at a time');
  waiting[0]?.end('well\n');
  assert.deepEqual((await Promise.all(many)).sort(), [200, ...Array(9).fill(503)]);
  assert.equal((await breaker())?.state, 'half-open', 'one success is not two');
  db.answer = well;
  assert.equal((await call()).status, 200);
  assert.equal((await breaker())?.state, 'closed');
  for (let sent = 0; sent < 10; sent++) assert.equal((await call()).status, 200);
});

test('a probe whose client vanishes does not wedge the breaker', async () => {
  await policy({ breaker: { enabled: true, errorRate: 0.5, volumeThreshold: 2, openMs: 300, closeAfterSuccesses: 1 } });
  db.answer = status(500);
  for (let sent = 0; sent < 2; sent++) await call();
  await waitFor('half-open', async () => (await breaker())?.state === 'half-open', 20_000);
  db.clear();
  db.answer = () => undefined;
  const outgoing = request(`http://${web.upstream('db')}/`, { agent: false });
  outgoing.on('error', () => undefined); // it is us who end it
  outgoing.end();
  await waitFor('the probe to arrive', () => db.count === 1, 20_000);
  vanish(outgoing);
  db.answer = well;
  await waitFor('the next probe to close it', async () => (await call()).status === 200, 20_000);
  assert.equal((await breaker())?.state, 'closed');
});

test('neither a refusal by intention, nor a 4xx, nor a client that goes away counts against the upstream', async () => {
  await policy({ breaker: { enabled: true, errorRate: 0.1, volumeThreshold: 2, openMs: 60_000 } });
  for (let sent = 0; sent < 10; sent++) assert.equal((await call({ path: '/denied' })).status, 403);
  db.answer = status(404);
  for (let sent = 0; sent < 10; sent++) assert.equal((await call()).status, 404);
  db.clear();
  db.answer = () => undefined;
  const clients = Array.from({ length: 10 }, () => request(`http://${web.upstream('db')}/`, { agent: false }));
  for (const client of clients) client.on('error', () => undefined).end(); // it is us who end it
  await waitFor('all to arrive', () => db.count === 10, 20_000);
  for (const client of clients) vanish(client);
  db.answer = well;
  assert.equal((await call()).status, 200);
  const shown = await breaker();
  assert.deepEqual([shown?.state, shown?.failures], ['closed', 0]);
});

test('calls beyond the bulkhead are refused at once; those within are not disturbed', async () => {
  await policy({ maxConcurrent: 3 });
  const waiting: ServerResponse[] = [];
  db.answer = (outgoing) => waiting.push(outgoing);
  const within = Array.from({ length: 3 }, () => call());
  await waitFor('three to be in flight', () => waiting.length === 3, 20_000);
  const beyond = await call();
  assert.equal(beyond.status, 503);
  assert.match(beyond.text, /SLV-4006/);
  for (const outgoing of waiting) outgoing.end('well\n');
  assert.ok((await Promise.all(within)).every((answer) => answer.status === 200));
});

test('what web and db say of themselves in service-defaults holds at once: no call of db, a second for each', async () => {
  const defaults = (Name: string, more: object) =>
    mesh.must('PUT', '/v1/config', { Kind: 'service-defaults', Name, Protocol: 'http', ...more });
  const answered = (code: string) => async () => (await call()).text.includes(code);
  await defaults('web', { UpstreamConfig: { Overrides: [{ Name: 'db', Limits: { MaxConcurrentRequests: 0 } }] } });
  await waitFor('web to call db no more', answered('SLV-4006'), 20_000);
  db.clear();
  await call();
  assert.equal(db.count, 0);
  await defaults('web', {});
  await waitFor('web to call db again', async () => (await call()).status === 200, 20_000);
  await defaults('db', { RateLimits: { InstanceLevel: { RequestsPerSecond: 1 } } });
  await waitFor('db to take no more', answered('SLV-4018'), 20_000);
  await defaults('db', {});
  await waitFor('db to take all', async () => (await call()).status === 200 && (await call()).status === 200, 20_000);
});
