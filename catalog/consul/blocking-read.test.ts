import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';
import { spread } from './blocking-read.ts';

async function indexOf(catalog: RunningCatalog, path: string): Promise<number> {
  return Number((await send(catalog, 'GET', path)).headers.get('x-consul-index'));
}

async function register(catalog: RunningCatalog, service: string, extra: object = {}): Promise<void> {
  const body = { Node: 'n1', Address: '10.0.0.1', Service: { Service: service, Port: 1 }, ...extra };
  assert.equal((await send(catalog, 'PUT', '/v1/catalog/register', { body })).status, 200);
}

async function waiting(catalog: RunningCatalog): Promise<number> {
  const { text } = await send(catalog, 'GET', '/metrics');
  return Number(/^selvedge_catalog_blocking_queries (\d+)$/m.exec(text)?.[1]);
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await condition()); ) {
    assert.ok(Date.now() < deadline, `did not come: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A blocking query over the wire, with a note of whether it has been answered. */
async function block(catalog: RunningCatalog, path: string) {
  const before = await waiting(catalog);
  const index = await indexOf(catalog, path);
  const gone = new AbortController();
  const answer = fetch(`${catalog.url}${path}?index=${index}&wait=30s`, { signal: gone.signal });
  const query = { answered: false, index, gone, answer };
  query.answer.then(
    () => {
      query.answered = true;
    },
    () => undefined,
  );
  await until('the query waits', async () => (await waiting(catalog)) > before);
  return query;
}

test('each read wakes on a change of what it shows and of nothing else', async (t) => {
  const catalog = await startTestCatalog(t);
  await register(catalog, 'web');
  await register(catalog, 'db');
  const onWeb = await block(catalog, '/v1/health/service/web');
  const onDb = await block(catalog, '/v1/health/service/db');
  const onNames = await block(catalog, '/v1/catalog/services');
  await register(catalog, 'web', { Check: { Name: 'alive', ServiceID: 'web', Status: 'passing' } });
  const answer = await onWeb.answer;
  assert.ok(Number(answer.headers.get('x-consul-index')) > onWeb.index);
  const [entry] = (await answer.json()) as { Checks: unknown[] }[];
  assert.equal(entry?.Checks.length, 1);
  await register(catalog, 'cache');
  await onNames.answer;
  assert.equal(onDb.answered, false);
  onDb.gone.abort();
});

test('a change of the node wakes who looks at its services; intentions wake who looks at intentions', async (t) => {
  const catalog = await startTestCatalog(t);
  await register(catalog, 'web');
  const onWeb = await block(catalog, '/v1/catalog/service/web');
  const onList = await block(catalog, '/v1/connect/intentions');
  await send(catalog, 'PUT', '/v1/connect/intentions/exact?source=web&destination=db', { body: { Action: 'allow' } });
  await onList.answer;
  assert.equal(onWeb.answered, false);
  await register(catalog, 'web', { Address: '10.0.0.7' });
  const [instance] = (await (await onWeb.answer).json()) as { Address: string }[];
  assert.equal(instance?.Address, '10.0.0.7');
});

test('what is not there can be waited for', async (t) => {
  const catalog = await startTestCatalog(t);
  const query = await block(catalog, '/v1/config/service-defaults/web');
  await send(catalog, 'PUT', '/v1/config', { body: { Kind: 'service-defaults', Name: 'web', Protocol: 'http' } });
  assert.equal((await query.answer).status, 200);
});

test('a wait is spread by up to a sixteenth of it, never more, never less', () => {
  for (const [random, ms] of [
    [0, 120_000],
    [0.5, 123_750],
    [1 - 2 ** -53, 127_500],
  ] as const) {
    assert.equal(Math.round(spread(120_000, () => random)), ms);
  }
});

test('of two thousand that wait for twenty services, a change of one wakes its hundred', async (t) => {
  const catalog = await startTestCatalog(t);
  const gone = new AbortController();
  const woken: string[] = [];
  const queries: Promise<void>[] = [];
  for (let service = 0; service < 20; service++) {
    const name = `s${service}`;
    await register(catalog, name);
    const path = `/v1/health/service/${name}`;
    const index = await indexOf(catalog, path);
    for (let reader = 0; reader < 100; reader++) {
      // Not over the network: what is looked at are the waiters, not the sockets.
      const answer = catalog.app.request(`${path}?index=${index}&wait=5m`, { signal: gone.signal });
      queries.push(Promise.resolve(answer).then(() => void woken.push(name)));
    }
  }
  await until('all wait', async () => (await waiting(catalog)) === 2_000);
  await register(catalog, 's7', { Check: { Name: 'alive', ServiceID: 's7', Status: 'passing' } });
  await until('a hundred are answered', async () => woken.length >= 100);
  assert.equal(await waiting(catalog), 1_900);
  assert.deepEqual(woken, Array(100).fill('s7'));
  gone.abort();
  await Promise.all(queries);
});

test('without a change the wait ends with the same index', async (t) => {
  const catalog = await startTestCatalog(t);
  const index = await indexOf(catalog, '/v1/catalog/services');
  const began = performance.now();
  const { status, headers } = await send(catalog, 'GET', `/v1/catalog/services?index=${index}&wait=80ms`);
  const took = performance.now() - began;
  assert.equal(status, 200);
  assert.equal(Number(headers.get('x-consul-index')), index);
  assert.ok(took >= 75, `${took} ms`);
});

test('a reader that goes away waits no more; a catalog that stops answers who waits', async (t) => {
  const catalog = await startTestCatalog(t);
  const left = await block(catalog, '/v1/catalog/services');
  left.gone.abort();
  await until('nobody waits', async () => (await waiting(catalog)) === 0);
  const stays = await block(catalog, '/v1/catalog/nodes');
  await catalog.close(1_000);
  assert.equal((await stays.answer).status, 200);
});

test('an index never goes back when things end, and a write is read at once by who wrote it', async (t) => {
  const catalog = await startTestCatalog(t);
  const paths = ['/v1/catalog/services', '/v1/health/service/web', '/v1/catalog/nodes', '/v1/catalog/node/n1'];
  const seen = new Map<string, number>();
  const look = async () => {
    for (const path of paths) {
      const index = await indexOf(catalog, path);
      assert.ok(index >= (seen.get(path) ?? 1), path);
      seen.set(path, index);
    }
  };
  await look();
  for (let round = 0; round < 3; round++) {
    await register(catalog, 'web');
    assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/services')).json, { web: [] });
    await look();
    await send(catalog, 'PUT', '/v1/catalog/deregister', { body: { Node: 'n1' } });
    assert.deepEqual((await send(catalog, 'GET', '/v1/catalog/services')).json, {});
    await look();
  }
});

test('concurrent writes of one thing all end, and the last one read is one of them', async (t) => {
  const catalog = await startTestCatalog(t);
  const ports = Array.from({ length: 12 }, (_, at) => at + 1);
  await Promise.all(ports.map((Port) => register(catalog, 'web', { Service: { Service: 'web', Port } })));
  const [instance] = (await send(catalog, 'GET', '/v1/catalog/service/web?consistent')).json as {
    ServicePort: number;
  }[];
  assert.ok(ports.includes(instance?.ServicePort ?? 0));
});

test('writers of one thing take turns: forty at once all succeed, none is lost', async (t) => {
  const catalog = await startTestCatalog(t);
  const sources = Array.from({ length: 40 }, (_, at) => `s${at}`);
  const put = (source: string) =>
    send(catalog, 'PUT', `/v1/connect/intentions/exact?source=${source}&destination=db`, { body: { Action: 'allow' } });
  for (const { status } of await Promise.all(sources.map(put))) assert.equal(status, 200);
  assert.equal(((await send(catalog, 'GET', '/v1/connect/intentions')).json as unknown[]).length, sources.length);
});
