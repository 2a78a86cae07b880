import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const write = (catalog: RunningCatalog, body: object, query = '') =>
  send(catalog, 'PUT', `/v1/config${query}`, { body });

test('an entry of any kind is written, read, listed and deleted; the writer is told what has no effect', async (t) => {
  const catalog = await startTestCatalog(t);
  const resolver = {
    Kind: 'service-resolver',
    Name: 'db',
    ConnectTimeout: '3s',
    Failover: { '*': { Service: 'b', Policy: { Mode: 'order-by-locality' } } },
  };
  const written = await write(catalog, {
    kind: 'service-resolver',
    name: 'db',
    connect_timeout: '3s',
    failover: resolver.Failover,
  });
  assert.equal(written.text, 'true');
  assert.equal(
    written.headers.get('x-selvedge-warning'),
    'service-resolver db is stored; the proxies do not act on Failover.Policy.Mode',
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

test('who redirects to where nobody is known, or rewrites to what is refused, is told that every call is; of many fields that do nothing, how many more', async (t) => {
  const catalog = await startTestCatalog(t);
  const redirect = { Kind: 'service-resolver', Name: 'db', Redirect: { Service: 'db', Datacenter: 'dc2' } };
  assert.equal(
    (await write(catalog, redirect)).headers.get('x-selvedge-warning'),
    'service-resolver db is stored; the proxies do not act on Redirect.Datacenter; every call of db is refused (SLV-4002): nobody is known where it redirects to',
  );
  const own = { ...redirect, Redirect: { Service: 'other', Datacenter: 'dc1' } };
  assert.equal((await write(catalog, own)).headers.get('x-selvedge-warning'), null);
  const http = { Kind: 'service-defaults', Name: 'web', Protocol: 'http' };
  await write(catalog, http);
  const Match = { HTTP: { PathPrefix: '/' } };
  const router = { Kind: 'service-router', Name: 'web', Routes: [{ Match, Destination: { PrefixRewrite: '/a%2F' } }] };
  assert.match((await write(catalog, router)).headers.get('x-selvedge-warning') ?? '', /^every request of Route\[0\]/);
  const Incoming = { RequestNormalization: { PathWithEscapedSlashesAction: 'KEEP_UNCHANGED' } };
  await write(catalog, { ...http, HTTP: { Incoming } });
  assert.equal((await write(catalog, router)).headers.get('x-selvedge-warning'), null);
  const Config = Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`key_${at}`, at]));
  const many = await write(catalog, { Kind: 'proxy-defaults', Config });
  assert.match(many.headers.get('x-selvedge-warning') ?? '', /Config\.key_15, 4 more$/);
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

test('discovery chains are compiled from what is stored, and no entry breaks one', async (t) => {
  const catalog = await startTestCatalog(t);
  const chainOf = async (service: string, query = '') => {
    const answer = await send(catalog, 'GET', `/v1/discovery-chain/${service}${query}`);
    assert.equal(answer.status, 200, answer.text);
    const { Chain } = answer.json as { Chain: { StartNode: string; Protocol: string; Default?: boolean } };
    return { ...Chain, index: Number(answer.headers.get('x-consul-index')) };
  };
  const before = await chainOf('web');
  assert.deepEqual([before.StartNode, before.Default], ['resolver:web.default.default.dc1', true]);
  const splitter = { Kind: 'service-splitter', Name: 'web', Splits: [{ Weight: 100, Service: 'canary' }] };
  const refused = await write(catalog, splitter);
  assert.equal(refused.status, 400);
  assert.match(refused.text, /^discovery chain "web" uses a protocol "tcp"/);

  await write(catalog, { Kind: 'service-defaults', Name: 'other', Protocol: 'http' });
  assert.equal((await chainOf('web')).index, before.index, 'another service is none of its business');
  await write(catalog, { Kind: 'proxy-defaults', Config: { protocol: 'http' } });
  assert.equal((await write(catalog, splitter)).text, 'true');
  const waiting = chainOf('web', `?index=${(await chainOf('web')).index}&wait=10s`);
  await write(catalog, { Kind: 'service-resolver', Name: 'canary', ConnectTimeout: '1s' });
  assert.ok((await waiting).index > before.index, 'what it leads to is');
  const end = await send(catalog, 'DELETE', '/v1/config/proxy-defaults/global');
  assert.equal(end.status, 400, 'the splitter would be of a tcp service');

  const body = { OverrideProtocol: 'tcp', OverrideConnectTimeout: '3s', override_mesh_gateway: { mode: 'local' } };
  const overridden = await send(catalog, 'POST', '/v1/discovery-chain/web', { body });
  const { Chain } = overridden.json as { Chain: { StartNode: string; Targets: Record<string, object> } };
  assert.equal(Chain.StartNode, 'resolver:web.default.default.dc1');
  assert.deepEqual(
    Object.values(Chain.Targets).map((target) => ({ ...target, ID: '', Name: '', SNI: '' })),
    [
      {
        ID: '',
        Name: '',
        SNI: '',
        Service: 'web',
        Namespace: 'default',
        Partition: 'default',
        Datacenter: 'dc1',
        MeshGateway: { Mode: 'local' },
        Subset: {},
        TransparentProxy: {},
        ConnectTimeout: '3s',
      },
    ],
  );
  for (const [path, body, status] of [
    ['/v1/discovery-chain/', undefined, 400],
    ['/v1/discovery-chain/w%20b', undefined, 400],
    ['/v1/discovery-chain/web', { OverrideConnectTimeout: 'soon' }, 400],
  ] as const) {
    assert.equal((await send(catalog, body === undefined ? 'GET' : 'POST', path, { body })).status, status, path);
  }
});
