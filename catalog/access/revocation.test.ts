import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from '#test/wait-for.ts';
import type { RunningCatalog } from '../main.ts';
import { quietContext, send, startTestCatalog } from '../testing/running-catalog.ts';

const withToken = (token: string | undefined) => ({ 'x-consul-token': token ?? '' });

/** Two catalogs on one store, as on one etcd cluster. */
async function startTwo(t: TestContext): Promise<{ here: RunningCatalog; there: RunningCatalog }> {
  const { clock, log } = quietContext();
  const store = await openSqliteStore({ path: undefined, clock, log });
  t.after(() => store.close());
  const shared: Store = new Proxy(store, {
    get: (target, name) => {
      if (name === 'close') return async () => undefined; // it ends after both
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const here = await startTestCatalog(t, { open: false }, async () => shared);
  const there = await startTestCatalog(t, { open: false }, async () => shared);
  return { here, there };
}

interface Made {
  readonly accessor: string;
  readonly secret: string;
}

async function make(catalog: RunningCatalog, roles: readonly string[], more: object = {}): Promise<Made> {
  const made = await send(catalog, 'POST', '/v1/mesh/tokens', {
    headers: withToken(catalog.operatorToken),
    body: { roles, ...more },
  });
  assert.equal(made.status, 201, made.text);
  return made.json as Made;
}

const read = (catalog: RunningCatalog, secret: string, path = '/v1/catalog/services') =>
  send(catalog, 'GET', path, { headers: withToken(secret) });

/** Waits until the catalog has heard of a token. */
const known = (catalog: RunningCatalog, secret: string) =>
  waitFor('the token to be known', async () => (await read(catalog, secret)).status === 200, 10_000);

const revoke = (catalog: RunningCatalog, accessor: string) =>
  send(catalog, 'DELETE', `/v1/mesh/tokens/${accessor}`, { headers: withToken(catalog.operatorToken) });

test('a token that is revoked at one catalog is good at none, and what waits under it is answered: 403', async (t) => {
  const { here, there } = await startTwo(t);
  const reader = await make(here, ['reader']);
  const other = await make(here, ['reader']);
  await known(there, reader.secret);
  await known(there, other.secret);
  const index = (await read(there, reader.secret)).headers.get('x-consul-index');
  const ends: string[] = [];
  const wait = async (name: string, { secret }: Made) => {
    const answer = await read(there, secret, `/v1/catalog/services?index=${index}&wait=20s`);
    ends.push(name);
    return answer;
  };
  const waiting = Array.from({ length: 20 }, () => wait('revoked', reader));
  const untouched = wait('other', other);
  const revoked = await revoke(here, reader.accessor);
  assert.deepEqual([revoked.status, revoked.json], [200, { revoked: reader.accessor }]);
  assert.equal((await read(here, reader.secret)).status, 403, 'at once where it was revoked');
  for (const answer of await Promise.all(waiting))
    assert.deepEqual([answer.status, answer.text], [403, 'ACL not found']);
  assert.equal(ends.includes('other'), false, 'who waits under another token waits on');
  assert.equal((await read(there, reader.secret)).status, 403);
  assert.match((await read(there, reader.secret)).text, /ACL not found/);

  await send(there, 'PUT', '/v1/catalog/register', {
    headers: withToken(there.operatorToken),
    body: { Node: 'n', Address: 'a', Service: { Service: 'x' } },
  });
  assert.equal((await untouched).status, 200);
});

test('a feed ends with the token that opened it', async (t) => {
  const { here, there } = await startTwo(t);
  const operator = await make(here, ['operator']);
  await known(there, operator.secret);
  const feed = await there.app.request('http://127.0.0.1/v1/mesh/feed?proxy=p&service=db', {
    headers: withToken(operator.secret),
  });
  const reader = feed.body?.getReader();
  assert.ok(reader);
  assert.match(Buffer.from((await reader.read()).value ?? []).toString(), /"hello"/);
  await revoke(here, operator.accessor);
  while (!(await reader.read()).done); // ends, or the test times out
});

test('what a token expires with: requests, and what waits', async (t) => {
  let offsetMs = 0;
  const here = await startTestCatalog(t, { open: false }, undefined, {
    ...quietContext(),
    clock: () => Date.now() + offsetMs,
  });
  const short = await make(here, ['reader'], { expiresAfterSeconds: 60 });
  const first = await read(here, short.secret);
  assert.equal(first.status, 200);
  const index = first.headers.get('x-consul-index');
  const waiting = read(here, short.secret, `/v1/catalog/services?index=${index}&wait=60s`);
  const metrics = async () => (await read(here, here.operatorToken ?? '', '/metrics')).text;
  await waitFor('it to wait', async () => /^selvedge_catalog_blocking_queries 1$/m.test(await metrics()), 10_000);
  offsetMs = 60_000;
  const waited = await waiting;
  assert.deepEqual([waited.status, waited.text], [403, 'ACL not found']);
  assert.equal((await read(here, short.secret)).status, 403);
  const listed = await send(here, 'GET', '/v1/mesh/tokens', { headers: withToken(here.operatorToken) });
  assert.deepEqual(
    (listed.json as { accessor: string; expired: boolean }[]).map(({ accessor, expired }) => [accessor, expired]),
    [[short.accessor, true]],
  );
});

test('an operator token revokes itself, and is no more', async (t) => {
  const { here } = await startTwo(t);
  const { accessor, secret } = await make(here, ['operator']);
  const gone = await send(here, 'DELETE', `/v1/mesh/tokens/${accessor}`, { headers: withToken(secret) });
  assert.equal(gone.status, 200);
  assert.equal((await send(here, 'DELETE', `/v1/mesh/tokens/${accessor}`, { headers: withToken(secret) })).status, 403);
  assert.equal((await revoke(here, accessor)).status, 404);
});
