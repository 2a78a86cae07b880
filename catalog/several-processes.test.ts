import assert from 'node:assert/strict';
import { test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { openEtcdStore } from '#store/etcd/etcd-store.ts';
import { findEtcd, startEtcd } from '#test/etcd.ts';
import { waitFor } from '#test/wait-for.ts';
import { send, startTestCatalog } from './testing/running-catalog.ts';

/** Several catalogs over one etcd cluster: each takes any request, and none lags behind what another acknowledged. */

const { skip } = await findEtcd();

test('catalogs over one etcd are one catalog, also while its leader is away', { skip }, async (t) => {
  const cluster = await startEtcd();
  t.after(() => cluster[Symbol.asyncDispose]());
  const start = (nodeName: string) =>
    startTestCatalog(t, { nodeName }, ({ log }) =>
      openEtcdStore({
        addresses: cluster.addresses,
        credentials: credentials.createInsecure(),
        prefix: 'mesh/catalog',
        log,
      }),
    );
  const [one, two] = await Promise.all([start('catalog-1'), start('catalog-2')]);
  /** It may be said again: a busy machine can take the cluster its leader for a moment, and nobody knows then whether it was done. */
  const write = (catalog: typeof one, number: number) =>
    waitFor('a write', async () => (await register(catalog, number)).status === 200, 60_000);
  const register = (catalog: typeof one, number: number) =>
    send(catalog, 'PUT', '/v1/catalog/register', {
      body: { Node: `n${number}`, Address: '10.0.0.1', Service: { Service: 'web', Port: number } },
    });
  const ports = async (catalog: typeof one, query = '') => {
    const { status, json, text, headers } = await send(catalog, 'GET', `/v1/catalog/service/web${query}`);
    assert.equal(status, 200, text);
    return {
      ports: (json as { ServicePort: number }[]).map(({ ServicePort }) => ServicePort),
      index: Number(headers.get('x-consul-index')),
    };
  };

  // A write at one: seen at the other by a consistent read at once, and by a blocking query.
  const before = await ports(two);
  const blocked = ports(two, `?index=${before.index}&wait=30s`);
  await write(one, 1);
  assert.deepEqual((await ports(two, '?consistent')).ports, [1]);
  assert.deepEqual((await blocked).ports, [1]);
  assert.equal((await ports(one)).index, (await ports(two, '?consistent')).index, 'one index for both');

  // Many at once, everywhere: nothing is lost, and a compare-and-swap has one winner.
  await Promise.all(Array.from({ length: 20 }, (_, i) => write(i % 2 ? one : two, i + 2)));
  assert.equal((await ports(one, '?consistent')).ports.length, 21);
  const entry = { Kind: 'service-defaults', Name: 'web', Protocol: 'http' };
  const swaps = await Promise.all(
    [one, two, one, two].map((catalog) => send(catalog, 'PUT', '/v1/config?cas=0', { body: entry })),
  );
  assert.deepEqual(swaps.map(({ text }) => text.trim()).sort(), ['false', 'false', 'false', 'true']);

  // The leader is killed: reads go on from memory all the time, writes once there is another.
  const leader = await cluster.leader();
  await leader.kill();
  assert.equal((await ports(one)).ports.length, 21);
  await write(one, 100);
  await waitFor('it at the other', async () => (await ports(two)).ports.includes(100), 60_000);

  // No majority: both say that they may be stale, and serve what they know.
  const [second] = cluster.members.filter((member) => member !== leader);
  await second?.kill();
  for (const catalog of [one, two]) {
    await waitFor(
      'the word that it may be stale',
      async () =>
        (await send(catalog, 'GET', '/v1/catalog/service/web')).headers.get('x-consul-knownleader') === 'false',
      60_000,
    );
    assert.equal((await ports(catalog)).ports.length, 22);
  }
  const refused = await register(two, 200);
  assert.ok(refused.status >= 500, `${refused.status} ${refused.text}`);
  await Promise.all([leader.start(), second?.start()]);
  for (const catalog of [one, two]) {
    await waitFor(
      'it to follow again',
      async () =>
        (await send(catalog, 'GET', '/v1/catalog/service/web')).headers.get('x-consul-knownleader') === 'true',
      60_000,
    );
    // That it hears of changes again does not say that a majority answers it at this moment.
    const { ports: all } = await waitFor('a consistent read', () => ports(catalog, '?consistent'), 60_000);
    assert.ok(all.length >= 22);
  }
});
