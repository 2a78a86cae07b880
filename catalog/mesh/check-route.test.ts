import assert from 'node:assert/strict';
import { test } from 'node:test';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

test('check names the rule, the reading and the revision that decided, for method, path and headers', async (t) => {
  const catalog = await startTestCatalog(t);
  const put = (path: string, body: object) => send(catalog, 'PUT', path, { body });
  await put('/v1/config', { Kind: 'service-defaults', Name: 'db', Protocol: 'http' });
  const written = await put('/v1/connect/intentions/exact?source=web&destination=db', {
    Permissions: [
      { Action: 'deny', HTTP: { PathPrefix: '/orders/internal' } },
      { Action: 'allow', HTTP: { PathPrefix: '/orders', Methods: ['GET'] } },
      { Action: 'allow', HTTP: { PathExact: '/orders', Header: [{ Name: 'x-tenant', Exact: 'a' }] } },
    ],
  });
  assert.equal(written.status, 200);
  const { headers } = await send(catalog, 'GET', '/v1/connect/intentions');
  const revision = Number(headers.get('x-consul-index'));

  const cases: readonly [question: object, answer: object][] = [
    [
      { method: 'GET', path: '/orders/Internal;v=1/x?y' },
      {
        allowed: false,
        rule: 'web -> db permission 1 (deny)',
        reading: 'folded: /orders/internal/x',
        path: '/orders/Internal;v=1/x',
      },
    ],
    [{ path: '/orders/1' }, { allowed: true, rule: 'web -> db permission 2 (allow)', path: '/orders/1' }],
    [
      { method: 'POST', path: '/%6Frders', headers: { 'X-Tenant': 'a' } },
      { allowed: true, rule: 'web -> db permission 3 (allow)', path: '/orders' },
    ],
    [
      { method: 'POST', path: '/orders', headers: { 'x-tenant': ['a', 'b'] } },
      { allowed: false, rule: 'default (deny)', path: '/orders' },
    ],
    [{ headers: { 'x-tenant': 'a' } }, { allowed: false, rule: 'default (deny)', path: '/' }],
    [{ path: '/orders/%2e%2e/..' }, { allowed: false, rule: 'request target (deny)' }],
    [{}, { allowed: false, rule: 'per request' }],
    [
      { source: 'api', path: '/orders' },
      { allowed: false, rule: 'default (deny)', path: '/orders' },
    ],
  ];
  for (const [question, expected] of cases) {
    const body = { source: 'web', destination: 'db', ...question };
    const { status, json } = await send(catalog, 'POST', '/v1/mesh/intentions/check', { body });
    const { reason, ...answer } = json as Record<string, unknown>;
    assert.equal(status, 200);
    assert.deepEqual(answer, { ...expected, revision }, JSON.stringify(question));
    assert.match(String(reason), /^[A-Z].*\.$/s);
  }
});
