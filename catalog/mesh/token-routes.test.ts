import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { verifyAuditLog } from '#runtime/audit/verify-audit-log.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { accessorOf, freshToken } from '../access/token-secret.ts';
import { catalogPrefix } from '../state/keys.ts';
import { quietContext, send, startTestCatalog } from '../testing/running-catalog.ts';

interface Token {
  readonly accessor: string;
  readonly secret?: string;
  readonly roles: readonly string[];
  readonly expiresAt: string | null;
  readonly createdBy: string;
}

async function start(t: TestContext) {
  const dataDir = await mkdtemp(join(tmpdir(), 'selvedge-tokens-'));
  const { clock, log } = quietContext();
  const store = await openSqliteStore({ path: undefined, clock, log });
  const catalog = await startTestCatalog(t, { open: false, dataDir }, async () => store);
  t.after(() => rm(dataDir, { recursive: true }));
  const operator = { 'x-consul-token': catalog.operatorToken ?? '' };
  const make = async (body: object, headers: Record<string, string> = operator) => {
    const made = await send(catalog, 'POST', '/v1/mesh/tokens', { body, headers });
    assert.equal(made.status, 201, made.text);
    return made.json as Token & { secret: string };
  };
  return { catalog, store, operator, make, auditPath: join(dataDir, 'audit.jsonl') };
}

test('a token is made, listed, read and revoked; its secret is told once and stored nowhere', async (t) => {
  const { catalog, store, operator, make, auditPath } = await start(t);
  const made = await make({ roles: ['service:web', 'intentions:web-*', 'service:web'], description: 'CI of web' });
  assert.deepEqual(made.roles, ['service:web', 'intentions:web-*']);
  assert.deepEqual([made.expiresAt, made.createdBy], [null, 'operator']);
  assert.equal(accessorOf(made.secret), made.accessor);

  const { secret, ...shown } = made;
  assert.deepEqual((await send(catalog, 'GET', '/v1/mesh/tokens', { headers: operator })).json, [shown]);
  const path = `/v1/mesh/tokens/${made.accessor}`;
  assert.deepEqual((await send(catalog, 'GET', path, { headers: operator })).json, shown);

  const registered = await send(catalog, 'PUT', `/v1/catalog/register?token=${secret}`, {
    body: { Node: 'n1', Address: '10.0.0.1', Service: { Service: 'web', Port: 1 } },
  });
  assert.equal(registered.status, 200);
  for (const status of [200, 404]) {
    assert.equal((await send(catalog, 'DELETE', path, { headers: operator })).status, status);
  }
  assert.equal(
    (await send(catalog, 'PUT', `/v1/kv/a?cas=1&acquire=2&token=${operator['x-consul-token']}`)).status,
    400,
  );

  const audit = await readFile(auditPath, 'utf8');
  await verifyAuditLog([Buffer.from(audit)]);
  const events = audit
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => JSON.parse(line));
  assert.deepEqual(
    events.slice(0, 3).map(({ caller, changes }) => [caller, changes]),
    [
      ['operator', [`put tokens/${made.accessor}`]],
      [`token ${made.accessor}`, ['put nodes/n1', 'put services/n1/web']],
      ['operator', [`delete tokens/${made.accessor}`]],
    ],
  );
  const stored = (await store.range(catalogPrefix)).kvs.map(({ value }) => Buffer.from(value).toString()).join('\n');
  const random = secret.slice(-43);
  for (const [where, text] of Object.entries({ audit, stored })) {
    assert.equal(text.includes(random) || text.includes(operator['x-consul-token']), false, where);
  }
});

test('an operator token makes tokens, which say by whom; no other role does', async (t) => {
  const { catalog, make } = await start(t);
  const operator = await make({ roles: ['operator'] });
  const reader = await make({ roles: ['reader'] }, { authorization: `Bearer ${operator.secret}` });
  assert.equal(reader.createdBy, `token ${operator.accessor}`);
  const refused = await send(catalog, 'POST', '/v1/mesh/tokens', {
    body: { roles: ['reader'] },
    headers: { authorization: `bearer ${reader.secret}` },
  });
  assert.equal(refused.status, 403);
  assert.match(refused.text, new RegExp(`token ${reader.accessor} is no operator.*SLV-3006`));
});

test('what is refused', async (t) => {
  const { catalog, operator } = await start(t);
  const create = (body: unknown) => send(catalog, 'POST', '/v1/mesh/tokens', { body, headers: operator });
  for (const [body, code] of [
    [{}, 'SLV-1009'],
    [{ roles: [] }, 'SLV-1009'],
    [{ roles: 'reader' }, 'SLV-1009'],
    [{ roles: ['admin'] }, 'SLV-3009'],
    [{ roles: ['reader', 'service:selvedge-catalog'] }, 'SLV-3009'],
    [{ roles: ['intentions:a*b'] }, 'SLV-3009'],
    [{ roles: ['x'.repeat(1_000)] }, 'SLV-1009'],
    [{ roles: Array.from({ length: 33 }, (_, at) => `service:s${at}`) }, 'SLV-1009'],
    [{ roles: ['reader'], secret: 'chosen' }, 'SLV-1009'],
    [{ roles: ['reader'], expiresAfterSeconds: 0 }, 'SLV-1009'],
    [{ roles: ['reader'], expiresAfterSeconds: 1e12 }, 'SLV-1009'],
    [{ roles: ['reader'], description: 'x'.repeat(257) }, 'SLV-1009'],
    ['no JSON', 'SLV-1009'],
  ] as const) {
    const answer = await create(body);
    assert.deepEqual([answer.status, (answer.json as { code: string }).code], [400, code], JSON.stringify(body));
  }
  assert.deepEqual((await send(catalog, 'GET', '/v1/mesh/tokens', { headers: operator })).json, []);
});

test('who takes the secret for the accessor is refused, and does not find it in the audit log', async (t) => {
  const { catalog, operator, make, auditPath } = await start(t);
  const { secret, accessor } = await make({ roles: ['reader'] });
  for (const path of [`/v1/mesh/tokens/${secret}`, `/v1/acl/token/${secret}`, `/v1/catalog/deregister?x=${secret}`]) {
    const answer = await send(catalog, 'DELETE', path, { headers: operator });
    assert.ok(answer.status >= 400, path);
  }
  const audit = await readFile(auditPath, 'utf8');
  assert.ok(audit.includes(accessor.replaceAll('-', '')));
  assert.equal(audit.includes(secret.slice(-43)), false);
});

test('a token changes what is of its services and nothing else on a node that it shares', async (t) => {
  const { catalog, operator, make } = await start(t);
  const web = { 'x-consul-token': (await make({ roles: ['service:web'] })).secret };
  const register = (headers: Record<string, string>, Service: string, more: object = {}) =>
    send(catalog, 'PUT', '/v1/catalog/register', {
      headers,
      body: { Node: 'n1', Address: '10.0.0.1', Service: { Service, Port: 1 }, ...more },
    });
  assert.equal((await register(operator, 'db')).status, 200);
  const moved = await register(web, 'web', { Address: '6.6.6.6' });
  assert.equal(moved.status, 200);
  assert.match(moved.headers.get('x-selvedge-warning') ?? '', /left as it is/);
  const nodes = await send(catalog, 'GET', '/v1/catalog/nodes', { headers: web });
  assert.deepEqual(
    (nodes.json as { Address: string }[]).map(({ Address }) => Address),
    ['10.0.0.1'],
  );

  for (const [what, more] of [
    ['a check of db', { Check: { Name: 'x', ServiceID: 'db', Status: 'critical' } }],
    ['a check of the node', { Checks: [{ Name: 'x', Status: 'critical' }] }],
  ] as const) {
    assert.equal((await register(web, 'web', { ...more, Address: '10.0.0.2' })).status, 403, what);
  }
  const overDb = { Service: { Service: 'web', ID: 'db', Port: 1 } };
  assert.equal((await register(web, 'web', overDb)).status, 403, 'in the place of db');
});

test('a secret that is nearly one, is huge or odd, is nobody’s, and is logged nowhere', async (t) => {
  const { catalog, make } = await start(t);
  const { secret, accessor } = await make({ roles: ['operator'] });
  const flipped = secret.slice(0, -2) + (secret.at(-2) === 'A' ? 'B' : 'A') + secret.at(-1);
  const wrong = [
    ...[flipped, secret.slice(0, -1), `${secret}A`, secret.toUpperCase(), ` ${secret.slice(1)}`, accessor],
    ...[`slvt_${'0'.repeat(32)}_${'A'.repeat(43)}`, 'x'.repeat(8_000), '%00', '\u00e9'.repeat(40), '..', '{}', 'null'],
  ];
  for (const token of wrong) {
    for (const [path, headers] of [
      [`/v1/catalog/services?token=${encodeURIComponent(token)}`, {}],
      ['/v1/catalog/services', { 'x-consul-token': token }],
    ] as const) {
      const answer = await send(catalog, 'GET', path, { headers });
      assert.equal(answer.status, 403, token.slice(0, 80));
      assert.match(answer.text, /ACL not found/);
      assert.equal(answer.text.includes(token.slice(0, 80)) && token.length > 4, false, 'it is not echoed');
    }
  }
  assert.equal(
    (await send(catalog, 'GET', '/v1/catalog/services', { headers: { 'x-consul-token': secret } })).status,
    200,
  );
});

test('secrets: 256 bits, none twice, none without its accessor', () => {
  const { randomBytes } = quietContext();
  const made = Array.from({ length: 1_000 }, () => freshToken(randomBytes));
  assert.equal(new Set(made.map(({ secret }) => secret.slice(-43))).size, 1_000);
  for (const { accessor, secret } of made) {
    assert.match(accessor, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(accessorOf(secret), accessor);
    assert.equal(Buffer.from(secret.slice(-43), 'base64url').length, 32);
  }
});
