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
  const register = (catalog: typeof one, number: number) =>
    send(catalog, 'PUT', '/v1/catalog/register', {
      body: { Node: `n${number}`, Address: '10.0.0.1', Service: { Service: 'web', Port: number } },
    });
  const ports = async (catalog: typeof one, query = '') => {
    const { json, headers } = await send(catalog, 'GET', `/v1/catalog/service/web${query}`);
    return {
      ports: (json as { ServicePort: number }[]).map(({ ServicePort }) => ServicePort),
      index: Number(headers.get('x-consul-index')),
    };
  };

  // A write at one: seen at the other by a consistent read at once, and by a blocking query.
  const before = await ports(two);
  const blocked = ports(two, `?index=${before.index}&wait=30s`);
  assert.equal((await register(one, 1)).status, 200);
  assert.deepEqual((await ports(two, '?consistent')).ports, [1]);
  assert.deepEqual((await blocked).ports, [1]);
  assert.equal((await ports(one)).index, (await ports(two, '?consistent')).index, 'one index for both');

  // Many at once, everywhere: nothing is lost, and a compare-and-swap has one winner.
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => assert.equal((await register(i % 2 ? one : two, i + 2)).status, 200)),
  );
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
  await waitFor('a write', async () => (await register(one, 100)).status === 200, 30_000);
  await waitFor('it at the other', async () => (await ports(two)).ports.includes(100), 30_000);

  // No majority: both say that they may be stale, and serve what they know.
  const [second] = cluster.members.filter((member) => member !== leader);
  await second?.kill();
  for (const catalog of [one, two]) {
    await waitFor(
      'the word that it may be stale',
      async () =>
        (await send(catalog, 'GET', '/v1/catalog/service/web')).headers.get('x-consul-knownleader') === 'false',
      30_000,
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
      30_000,
    );
    assert.ok((await ports(catalog, '?consistent')).ports.length >= 22);
  }
});
