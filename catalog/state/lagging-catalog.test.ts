import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import type { RunningCatalog } from '../main.ts';
import { quietContext, send, startTestCatalog } from '../testing/running-catalog.ts';

/**
 * Of two catalogs over one store one hears of changes late. Both faults were found by test/linearizability: a write that its catalog took for done already,
 * and an answer older than the index that the client sent.
 */

/** The watch of a catalog, which can be held up; the rest of the store is the real one. */
class LateWatch {
  readonly store: Store;
  reachable = true;
  #held: PromiseWithResolvers<void> | undefined;
  #asked = Promise.withResolvers<void>();

  constructor(real: Store) {
    const late = this;
    this.store = new Proxy(real, {
      get(target, name) {
        if (name === 'watch') return late.#watch.bind(late, target);
        if (name === 'get') return late.#get.bind(late, target);
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  /** From here on nothing arrives. */
  hold(): void {
    this.#held = Promise.withResolvers();
    this.#asked = Promise.withResolvers();
  }

  /** Lets all arrive once the catalog has asked the store how far it should be, or has answered without. */
  async releaseOnceAsked(answer: Promise<unknown>): Promise<void> {
    await Promise.race([this.#asked.promise, answer]);
    this.#held?.resolve();
  }

  async *#watch(real: Store, ...args: Parameters<Store['watch']>): ReturnType<Store['watch']> {
    for await (const batch of real.watch(...args)) {
      await this.#held?.promise;
      yield batch;
    }
  }

  #get(real: Store, ...args: Parameters<Store['get']>): ReturnType<Store['get']> {
    this.#asked.resolve();
    return this.reachable ? real.get(...args) : Promise.reject(new MeshError('SLV-3505', 'It does not answer.'));
  }
}

async function twoCatalogs(t: TestContext) {
  const { clock, log } = quietContext();
  const real = await openSqliteStore({ path: undefined, clock, log });
  const late = new LateWatch(real);
  const prompt = await startTestCatalog(t, {}, async () => real);
  return { prompt, late, lagging: await startTestCatalog(t, { nodeName: 'catalog-2' }, async () => late.store) };
}

const put = (catalog: RunningCatalog, body: string) => send(catalog, 'PUT', '/v1/kv/k', { body });
const value = async (catalog: RunningCatalog) => (await send(catalog, 'GET', '/v1/kv/k?raw&consistent')).text;
const index = ({ headers }: { readonly headers: Headers }) => Number(headers.get('x-consul-index'));

test('a write of what the catalog remembers is done when another catalog has undone it', async (t) => {
  const { prompt, lagging, late } = await twoCatalogs(t);
  assert.equal((await put(lagging, 'on')).text, 'true');
  late.hold();
  assert.equal((await put(prompt, 'off')).text, 'true');
  const again = put(lagging, 'on');
  await late.releaseOnceAsked(again);
  assert.equal((await again).text, 'true');
  assert.equal(await value(prompt), 'on');
});

test('what the catalog has not yet heard of is deleted all the same', async (t) => {
  const { prompt, lagging, late } = await twoCatalogs(t);
  late.hold();
  await put(prompt, 'on');
  const deleted = send(lagging, 'DELETE', '/v1/kv/k');
  await late.releaseOnceAsked(deleted);
  assert.equal((await deleted).text, 'true');
  assert.equal((await send(prompt, 'GET', '/v1/kv/k?consistent')).status, 404);
});

test('an answer is not older than the index that the client has from another catalog', async (t) => {
  const { prompt, lagging, late } = await twoCatalogs(t);
  await put(prompt, 'one');
  await value(lagging);
  late.hold();
  await put(prompt, 'two');
  const seen = index(await send(prompt, 'GET', '/v1/kv/k'));
  const answer = send(lagging, 'GET', `/v1/kv/k?index=${seen}&wait=10ms`);
  await late.releaseOnceAsked(answer);
  assert.ok(index(await answer) >= seen);
  assert.match((await answer).text, /"Value":"dHdv"/);
});

test('… also where that catalog began later, and gives what is old a higher index', async (t) => {
  const { clock, log } = quietContext();
  const store = await openSqliteStore({ path: undefined, clock, log });
  const early = await startTestCatalog(t, {}, async () => store);
  await put(early, 'one');
  await send(early, 'PUT', '/v1/kv/another', { body: 'x' });
  await store.put('elsewhere', new Uint8Array());
  const later = await startTestCatalog(t, { nodeName: 'catalog-2' }, async () => store);
  const seen = index(await send(later, 'GET', '/v1/kv/k'));
  assert.ok(seen > index(await send(early, 'GET', '/v1/kv/k')));
  assert.equal(index(await send(early, 'GET', `/v1/kv/k?index=${seen}&wait=10ms`)), seen);
});

test('a catalog that can not catch up says so, or what it has to whom that will do', async (t) => {
  const { prompt, lagging, late } = await twoCatalogs(t);
  await put(prompt, 'one');
  await value(lagging);
  late.hold();
  await put(prompt, 'two');
  const seen = index(await send(prompt, 'GET', '/v1/kv/k'));
  late.reachable = false;
  const path = `/v1/kv/k?index=${seen}&wait=10ms`;
  assert.equal((await send(lagging, 'GET', path)).status, 503);
  const stale = await send(lagging, 'GET', `${path}&stale`);
  assert.deepEqual([stale.status, index(stale) < seen], [200, true]);
  assert.equal((await send(lagging, 'GET', '/v1/kv/k')).status, 200, 'without an index all is well');
  await late.releaseOnceAsked(Promise.resolve());
});

test('an index from another life of the mesh is answered with a lower one', async (t) => {
  const { prompt } = await twoCatalogs(t);
  await put(prompt, 'one');
  const answer = await send(prompt, 'GET', '/v1/kv/k?index=1000000&wait=10ms');
  assert.ok(index(answer) < 1_000_000);
});
