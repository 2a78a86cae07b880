import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { RunningCatalog } from '#catalog/main.ts';
import { send, startTestCatalog } from '#catalog/testing/running-catalog.ts';
import { toPem } from '#policies/der-writer.ts';
import { makeCa } from '#test/mini-ca.ts';
import { ServiceClient } from '../service-client.ts';
import { importConfigEntries } from './config-entries.ts';
import { ConsulSource } from './consul-source.ts';
import { ImportReport } from './import-report.ts';
import { importIntentions } from './intentions.ts';
import { importKeyValues } from './key-values.ts';
import { importRegistrations } from './registrations.ts';

async function take(url: string, catalog: RunningCatalog, apply: boolean): Promise<ImportReport> {
  const source = new ConsulSource({ url, tokenFile: undefined, caFile: undefined });
  const target = new ServiceClient('catalog', { url: catalog.url, tokenFile: undefined, caFile: undefined });
  const report = new ImportReport();
  await importConfigEntries(source, target, apply, report);
  await importRegistrations(source, target, apply, report);
  await importKeyValues(source, target, apply, report);
  await importIntentions(source, target, apply, report);
  return report;
}
const told = ({ items }: ImportReport, fate: string) =>
  items
    .filter((item) => item.fate === fate)
    .map(({ what, reason }) => (reason === undefined ? what : `${what}: ${reason}`));
const read = async (catalog: RunningCatalog, path: string) => (await send(catalog, 'GET', path)).json;
async function put(catalog: RunningCatalog, path: string, body: unknown): Promise<void> {
  const answer = await send(catalog, 'PUT', path, { body });
  assert.equal(answer.status, 200, `${path}: ${answer.text}`);
}

test('from a catalog that speaks its API: a dry run first, all of it then, and nothing the next time', async (t) => {
  const [from, to] = [await startTestCatalog(t), await startTestCatalog(t)];
  const JWKS = Buffer.from(
    '{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}',
  ).toString('base64');
  for (const entry of [
    { Kind: 'proxy-defaults', Name: 'global', Config: { protocol: 'http' } },
    { Kind: 'service-defaults', Name: 'db', Protocol: 'http', Meta: { owner: 'a' } },
    { Kind: 'jwt-provider', Name: 'okta', JSONWebKeySet: { Local: { JWKS } } },
    { Kind: 'service-resolver', Name: 'db', ConnectTimeout: '5s', Subsets: { v2: { Filter: 'Service.Meta.v == 2' } } },
    { Kind: 'service-splitter', Name: 'db', Splits: [{ Weight: 90 }, { Weight: 10, ServiceSubset: 'v2' }] },
    { Kind: 'mesh', Meta: { a: 'b' } },
    {
      Kind: 'service-intentions',
      Name: 'db',
      Meta: { team: 'x' },
      JWT: { Providers: [{ Name: 'okta' }] },
      Sources: [
        {
          Name: 'web',
          Permissions: [{ Action: 'allow', HTTP: { PathPrefix: '/a', Methods: ['GET'] } }],
          Description: 'why',
        },
        { Name: '*', Action: 'deny' },
      ],
    },
    { Kind: 'service-intentions', Name: '*', Sources: [{ Name: 'ops', Action: 'allow' }] },
  ]) {
    await put(from, '/v1/config', entry);
  }
  await put(from, '/v1/catalog/register', {
    Node: 'rds',
    Address: '10.1.2.3',
    NodeMeta: { 'external-node': 'true' },
    Service: { ID: 'pg1', Service: 'pg', Port: 5432, Tags: ['primary'], Meta: { v: '1' } },
    Checks: [{ CheckID: 'up', Name: 'up', Status: 'passing', ServiceID: 'pg1' }],
  });
  await put(from, '/v1/catalog/register', {
    Node: 'vm1',
    Address: '10.1.2.4',
    Service: { ID: 'web', Service: 'web', Port: 80 },
    Checks: [{ CheckID: 'serfHealth', Name: 'Serf', Status: 'passing' }],
  });
  await put(from, '/v1/kv/folder/a?flags=7', 'value');
  await put(from, '/v1/kv/empty', '');

  const dry = await take(from.url, to, false);
  assert.deepEqual(told(dry, 'left'), []);
  assert.equal(dry.count('new'), 12);
  assert.deepEqual(await read(to, '/v1/mesh/intentions'), []);
  assert.deepEqual(await read(to, '/v1/catalog/services'), {});

  const done = await take(from.url, to, true);
  assert.deepEqual([told(done, 'left'), done.count('new')], [[], 12]);
  assert.ok(
    done.notes.some((note) => note.startsWith('1 nodes with an agent')),
    done.notes.join('\n'),
  );
  const withoutIndexes = (value: unknown) => JSON.stringify(value).replace(/"(?:Create|Modify)Index":\d+/g, '');
  for (const path of [
    '/v1/config/service-intentions',
    '/v1/config/jwt-provider',
    '/v1/config/service-splitter',
    '/v1/health/service/pg',
  ]) {
    const same = (text: string) => text.replace(/,?"(?:ID|CreatedAt|UpdatedAt)":"[^"]*"/g, '');
    assert.equal(same(withoutIndexes(await read(to, path))), same(withoutIndexes(await read(from, path))), path);
  }
  const kv = (await read(to, '/v1/kv/folder/a')) as { Value: string; Flags: number }[];
  assert.deepEqual([kv[0]?.Value, kv[0]?.Flags], [Buffer.from('value').toString('base64'), 7]);

  // A mode that was given here since stays, and there is nothing more to do.
  await send(to, 'PUT', '/v1/mesh/intentions/ops/*?everywhere', { body: { action: 'allow', observe: true } });
  const again = await take(from.url, to, true);
  assert.deepEqual([told(again, 'new'), told(again, 'changed'), told(again, 'left')], [[], [], []]);
});

/** Answers what a Consul has been seen to answer: bodies by path; all else as it does what it has not got. */
async function recorded(t: TestContext, bodies: Readonly<Record<string, unknown>>): Promise<string> {
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    const body = bodies[path];
    if (body !== undefined) response.end(JSON.stringify(body));
    else if (path.startsWith('/v1/config/'))
      response.writeHead(400).end('Request decoding failed: invalid config entry kind: x');
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("from Consul's own shapes: what can not be taken is named, and opens nothing", async (t) => {
  const ent = { Partition: 'default', Namespace: 'default' };
  const indexes = { CreateIndex: 11, ModifyIndex: 12, Hash: 12_345 };
  const url = await recorded(t, {
    '/v1/config/service-defaults': [
      {
        Kind: 'service-defaults',
        Name: 'db',
        Protocol: 'http',
        TransparentProxy: {},
        MeshGateway: {},
        Expose: {},
        ...ent,
        ...indexes,
      },
      { Kind: 'service-defaults', Name: 'odd', Protocol: 'http', FromTheFuture: true, ...indexes },
    ],
    '/v1/config/ingress-gateway': [{ Kind: 'ingress-gateway', Name: 'edge', Listeners: [], ...indexes }],
    '/v1/config/service-intentions': [
      {
        Kind: 'service-intentions',
        Name: 'db',
        Sources: [
          {
            Name: 'web',
            Action: 'allow',
            Precedence: 9,
            Type: 'consul',
            LegacyID: '8d0b3f2c',
            LegacyMeta: { a: 'b' },
            LegacyCreateTime: '2020-01-01T00:00:00Z',
            LegacyUpdateTime: '2020-01-01T00:00:00Z',
            Description: '',
            ...ent,
          },
          { Name: 'far', Peer: 'cluster-2', Action: 'allow', Precedence: 9, Type: 'consul' },
        ],
        ...ent,
        ...indexes,
      },
      {
        Kind: 'service-intentions',
        Name: 'cache',
        Sources: [{ Name: 'web', SamenessGroup: 'all', Action: 'deny', Precedence: 9, Type: 'consul' }],
        ...indexes,
      },
      {
        Kind: 'service-intentions',
        Name: '*',
        Sources: [
          { Name: 'web', Action: 'allow', Precedence: 6, Type: 'consul' },
          { Name: 'bad', Action: 'deny', Precedence: 6, Type: 'consul' },
        ],
        ...indexes,
      },
    ],
    '/v1/connect/intentions/check?source=selvedge-import-probe-a&destination=selvedge-import-probe-b': {
      Allowed: true,
    },
    '/v1/catalog/nodes': [
      {
        ID: '40e4a748-2192-161a-0510-9bf59fe950b5',
        Node: 'ext',
        Address: '10.0.0.9',
        Datacenter: 'dc1',
        TaggedAddresses: null,
        Meta: null,
        ...indexes,
      },
    ],
    '/v1/health/node/ext': [],
    '/v1/catalog/node-services/ext': {
      Node: { Node: 'ext' },
      Services: [
        {
          ID: 'es',
          Service: 'es',
          Tags: null,
          Meta: null,
          Port: 9200,
          Address: '',
          TaggedAddresses: {},
          Weights: { Passing: 1, Warning: 1 },
          EnableTagOverride: false,
          Proxy: { Mode: '', MeshGateway: {}, Expose: {} },
          Connect: {},
          PeerName: '',
          ...indexes,
        },
        { ID: 'gw', Service: 'gw', Kind: 'terminating-gateway', Port: 8443, ...indexes },
      ],
    },
    '/v1/kv/?recurse=true': [
      { LockIndex: 0, Key: 'a', Flags: 0, Value: null, ...indexes },
      { LockIndex: 1, Key: 'lock', Flags: 1.2e19, Value: 'eA==', Session: 'b', ...indexes },
    ],
  });
  const catalog = await startTestCatalog(t);
  const report = await take(url, catalog, true);
  assert.deepEqual(told(report, 'new'), [
    'service-defaults db',
    'service es (es) on ext',
    'KV a',
    'intention web -> db',
    'intention bad -> *',
  ]);
  const left = told(report, 'left').join('\n');
  for (const [what, why] of [
    ['service-defaults odd', 'FromTheFuture'],
    ['ingress-gateway edge', 'not offered'],
    ['intention far of peer cluster-2 -> db', 'denied here'],
    ['intentions to cache (all)', 'sameness groups'],
    ['intention web -> * (allow)', 'it would open cache'],
    ['service gw (gw) on ext', 'terminating-gateway'],
    ['KV lock', 'Flags'],
  ] as const) {
    assert.ok(
      left.split('\n').some((line) => line.startsWith(what) && line.includes(why)),
      `${what}: ${why}\n${left}`,
    );
  }
  assert.ok(report.notes.some((note) => note.includes('--default-intention-policy')));
  const again = await take(url, catalog, true);
  assert.equal(again.count('new') + again.count('changed'), 0);
});

test('over https the server is known by the CA that was given, and gets the token', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-consul-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const ca = makeCa('consul.test');
  const own = ca.issue({ spiffeId: 'spiffe://consul.test/server', dns: ['localhost'] });
  const server = createTlsServer({ cert: own.chainPem, key: own.keyPem }, (request, response) =>
    response.end(JSON.stringify([request.headers['x-consul-token']])),
  );
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  t.after(() => server.close());
  const [tokenFile, caFile] = [join(folder, 'token'), join(folder, 'ca.pem')];
  writeFileSync(tokenFile, 'secret\n');
  writeFileSync(caFile, toPem('CERTIFICATE', ca.root.certificate));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  assert.deepEqual(await new ConsulSource({ url, tokenFile, caFile }).get('/v1/catalog/nodes'), ['secret']);
  await assert.rejects(
    () => new ConsulSource({ url, tokenFile, caFile: undefined }).get('/v1/catalog/nodes'),
    /No answer.*: its certificate is of no CA that is trusted here \(/,
  );
});

test('a token goes nowhere in the clear; an answer that is none is said', async (t) => {
  const away = new ConsulSource({ url: 'http://10.255.255.1:8500', tokenFile: '/dev/null', caFile: undefined });
  await assert.rejects(() => away.get('/v1/catalog/nodes'), /not sent to 10.255.255.1 over plain http/);
  const url = await recorded(t, {});
  await assert.rejects(
    () => new ConsulSource({ url, tokenFile: undefined, caFile: undefined }).get('/v1/catalog/nodes'),
    /answered 404/,
  );
});

for (const [status, code] of [
  [400, 'SLV-1009'],
  [403, 'SLV-3006'],
  [500, 'SLV-1006'],
] as const) {
  test(`${status} of Consul is ${code}`, async (t) => {
    const server = createServer((_, response) => response.writeHead(status).end('so it is'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await assert.rejects(
      () => new ConsulSource({ url, tokenFile: undefined, caFile: undefined }).get('/v1/catalog/nodes'),
      { code, message: /: so it is\./ },
    );
  });
}
