import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const write = (catalog: RunningCatalog, body: object, query = '') =>
  send(catalog, 'PUT', `/v1/config${query}`, { body });

test('an entry of any kind is written, read, listed and deleted; the writer is told what has no effect', async (t) => {
  const catalog = await startTestCatalog(t);
  const resolver = { Kind: 'service-resolver', Name: 'db', ConnectTimeout: '3s', Failover: { '*': { Service: 'b' } } };
  const written = await write(catalog, {
    kind: 'service-resolver',
    name: 'db',
    connect_timeout: '3s',
    failover: resolver.Failover,
  });
  assert.equal(written.text, 'true');
  assert.equal(
    written.headers.get('x-selvedge-warning'),
    'service-resolver db is stored; the proxies do not act on Failover, ConnectTimeout',
  );
  const read = await send(catalog, 'GET', '/v1/config/service-resolver/db');
  const index = Number(read.headers.get('x-consul-index'));
  const shown = { ...resolver, CreateIndex: index, ModifyIndex: index };
  assert.deepEqual(read.json, shown);
  assert.deepEqual((await send(catalog, 'GET', '/v1/config/service-resolver')).json, [shown]);
  assert.deepEqual((await send(catalog, 'GET', '/v1/config/service-router')).json, []);

  assert.equal((await write(catalog, { ...resolver, ConnectTimeout: '4s' }, '?cas=1')).text, 'false');
  assert.equal((await write(catalog, { ...resolver, ConnectTimeout: '4s' }, `?cas=${index}`)).text, 'true');
  assert.equal((await send(catalog, 'DELETE', `/v1/config/service-resolver/db?cas=${index}`)).text, 'false');
  assert.equal((await send(catalog, 'DELETE', '/v1/config/service-resolver/db')).text, '{}');
  const gone = await send(catalog, 'GET', '/v1/config/service-resolver/db');
  assert.deepEqual([gone.status, gone.text], [404, 'Config entry not found for "service-resolver" / "db"']);
});

test('the entries of which there is one need no name; mesh shows none, as in Consul', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [Kind, name, shown] of [
    ['proxy-defaults', 'global', 'global'],
    ['mesh', 'mesh', undefined],
  ] as const) {
    assert.equal((await write(catalog, { Kind })).text, 'true');
    const { Name } = (await send(catalog, 'GET', `/v1/config/${Kind}/${name}`)).json as { Name?: string };
    assert.equal(Name, shown);
  }
});

test('proxy-defaults say the protocol of services that say none themselves', async (t) => {
  const catalog = await startTestCatalog(t);
  const permissions = [{ Action: 'allow', HTTP: { PathPrefix: '/' } }];
  await write(catalog, { Kind: 'service-defaults', Name: 'silent', MaxInboundConnections: 1 });
  await write(catalog, { Kind: 'service-defaults', Name: 'db', Protocol: 'tcp' });
  await write(catalog, { Kind: 'proxy-defaults', Config: { protocol: 'http' } });
  for (const [destination, warned] of [
    ['web', false],
    ['silent', false],
    ['db', true],
  ] as const) {
    const path = `/v1/connect/intentions/exact?source=a&destination=${destination}`;
    const { headers } = await send(catalog, 'PUT', path, { body: { Permissions: permissions } });
    assert.equal(headers.has('x-selvedge-warning'), warned, destination);
  }
});
