import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { quietContext, send, startTestCatalog } from '#catalog/testing/running-catalog.ts';
import { reportCalls } from '#edge-proxy/calls/calls-report.ts';
import { RecentCalls } from '#edge-proxy/calls/recent-calls.ts';
import type { Verdict } from '#policies/intention-decision.ts';
import { recentCallsSchema } from '#policies/wire/recent-calls.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { intention, startMesh } from './sidecars.ts';
import { waitFor } from './wait-for.ts';

/** What proxies tell of calls, and what a preview makes of it. */

const letIn: Verdict = { allowed: true, rule: '', reason: '', revision: 1 };
const refused: Verdict = { ...letIn, allowed: false };

test('a proxy sums up who called which shapes of path, let in, refused or observed', async (t) => {
  const permissions = [
    { action: 'deny', http: { pathPrefix: '/admin' } },
    { action: 'allow', http: { pathPrefix: '/' } },
  ] as const;
  const mesh = await startMesh(t, {
    applications: [createServer((_, response) => response.end('ok'))],
    intentions: [intention({ source: 'web', permissions })],
  });
  const ask = (path: string) => mesh.ask(`GET ${path} HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n`);
  for (const path of ['/orders/1', '/orders/2?x=1', '/admin', '/orders/1']) await ask(path);
  mesh.feedIntentions([{ ...intention({ source: 'web', permissions }), observe: true }]);
  await ask('/admin');
  const report = mesh.db.sidecar.calls.take('db');
  assert.deepEqual(recentCallsSchema.parse(report), report);
  const call = (template: string, example: string, counts: object) => ({
    source: 'web',
    method: 'GET',
    template,
    example,
    ...{ allowed: 0, denied: 0, observed: 0, ...counts },
  });
  assert.deepEqual(report, {
    service: 'db',
    calls: [call('/orders/{}', '/orders/1', { allowed: 3 }), call('/admin', '/admin', { denied: 1, observed: 1 })],
    missed: 0,
  });
  assert.equal(mesh.db.sidecar.calls.take('db'), undefined);
});

test('whatever callers do, a report is bounded, and what has no room is counted', () => {
  const calls = new RecentCalls();
  for (let source = 0; source < 200; source++) {
    for (let path = 0; path < 300; path++)
      calls.from(`s${source}`).note('GET', `/w${path % 2 ? 'x' : 'y'}/${'ab'.repeat(path % 7)}/${path}`, letIn);
  }
  calls.from('s0').note('GET', `/${'x'.repeat(300)}`, letIn);
  calls.from(undefined).note('GET', '/', refused);
  const report = calls.take('db');
  assert.deepEqual(recentCallsSchema.parse(report), report);
  const told = report?.calls.reduce((sum, { allowed, denied }) => sum + allowed + denied, 0) ?? 0;
  assert.ok(told > 0 && (report?.missed ?? 0) > 0);
});

test('preview: which paths of the last hour an edit takes away or opens, told by a proxy to a catalog', async (t) => {
  const catalog = await startTestCatalog(t);
  const calls = new RecentCalls();
  const stop = new AbortController();
  const reporting = reportCalls({
    service: 'db',
    calls,
    catalogUrl: catalog.url,
    identity: { svid: () => ({ current: undefined }) } as unknown as MeshIdentity,
    context: quietContext(),
    signal: stop.signal,
    everyMs: 50,
  });
  await send(catalog, 'PUT', '/v1/config', { body: { Kind: 'service-defaults', Name: 'db', Protocol: 'http' } });
  await send(catalog, 'PUT', '/v1/mesh/intentions/web/db', { body: { action: 'allow' } });
  const web = calls.from('web');
  for (const path of ['/orders/1', '/orders/2', '/admin']) web.note('GET', path, letIn);
  calls.from('api').note('GET', '/orders/9', refused);
  interface Use {
    calls: { path: string; allowed: number; denied: number }[];
  }
  const use = async (query = '') =>
    (await send(catalog, 'GET', `/v1/mesh/intentions/use?destination=db${query}`)).json as Use;
  await waitFor('the report', async () => (await use()).calls.length === 3, 10_000);
  stop.abort();
  await reporting;
  assert.deepEqual(
    (await use('&source=web')).calls.map(({ path, allowed }) => `${path} ${allowed}`),
    ['/orders/{} 2', '/admin 1'],
  );

  const rule = (action: string, http: object) => ({ action, http });
  const preview = async (pair: string, intention: object | null) => {
    const answer = await send(catalog, 'POST', `/v1/mesh/intentions/${pair}/preview`, { body: { intention } });
    assert.equal(answer.status, 200, answer.text);
    return answer.json as {
      summary: string;
      diff: string[];
      loses: Use;
      gains: Use;
      depends: Use;
      warnings: string[];
      refused?: { code: string };
    };
  };
  const one = await preview('web/db', { permissions: [rule('allow', { pathPrefix: '/orders' })] });
  assert.equal(one.summary, 'removes 1 path used in the last hour');
  assert.deepEqual(
    one.loses.calls.map(({ path }) => path),
    ['/admin'],
  );
  assert.deepEqual(one.diff, ['- allow', '+ permission 1: allow PathPrefix "/orders"']);
  const gone = await preview('web/db', null);
  assert.equal(gone.summary, 'removes 2 paths used in the last hour');
  const opened = await preview('api/db', { permissions: [rule('allow', { pathPrefix: '/orders' })] });
  assert.equal(opened.summary, 'opens 1 path refused in the last hour');
  const tenant = [{ name: 'x-tenant', present: true }];
  const unsure = await preview('web/db', { permissions: [rule('allow', { pathPrefix: '/', headers: tenant })] });
  assert.equal(unsure.summary, 'makes 2 paths depend on headers or tokens');
  const guard = await preview('*/*', { permissions: [rule('deny', { pathPrefix: '/admin' })] });
  assert.equal(guard.summary, 'removes 1 path used in the last hour');
  const same = await preview('web/db', { action: 'allow', description: 'said' });
  assert.equal(same.summary, 'changes nothing of what was called in the last hour');
  assert.equal((await preview('api/db', { action: 'deny', observe: true })).refused?.code, 'SLV-3005');
  assert.equal((await preview('api/*', { action: 'allow' })).refused?.code, 'SLV-3011');
  // Nothing of all that was written.
  assert.equal(((await send(catalog, 'GET', '/v1/mesh/intentions')).json as unknown[]).length, 1);
});
