import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const exact = (source: string, destination: string, more = '') =>
  `/v1/connect/intentions/exact?source=${source}&destination=${destination}${more}`;

async function put(catalog: RunningCatalog, source: string, destination: string, body: object, more = '') {
  return send(catalog, 'PUT', exact(source, destination, more), { body });
}

async function allowed(catalog: RunningCatalog, source: string, destination: string): Promise<unknown> {
  const { json } = await send(
    catalog,
    'GET',
    `/v1/connect/intentions/check?source=${source}&destination=${destination}`,
  );
  return (json as { Allowed: unknown }).Allowed;
}

const names = (intentions: unknown) =>
  (intentions as { SourceName: string; DestinationName: string }[]).map(
    ({ SourceName, DestinationName }) => `${SourceName}>${DestinationName}`,
  );

test('an intention in Consul shapes: list, exact, absent, deleted twice', async (t) => {
  const catalog = await startTestCatalog(t);
  assert.equal((await send(catalog, 'GET', '/v1/connect/intentions')).text, '[]');
  assert.equal((await send(catalog, 'GET', exact('web', 'db'))).status, 404);
  const written = await put(catalog, 'web', 'db', { Action: 'allow', Description: 'orders', SourceName: 'overridden' });
  assert.equal(written.text, 'true');
  const { json, headers } = await send(catalog, 'GET', exact('default/web', 'db'));
  const index = Number(headers.get('x-consul-index'));
  const { ID, CreatedAt, UpdatedAt, ...rest } = json as Record<string, unknown>;
  assert.match(String(ID), /^[0-9a-f-]{36}$/);
  assert.deepEqual(rest, {
    Description: 'orders',
    SourceNS: 'default',
    SourceName: 'web',
    DestinationNS: 'default',
    DestinationName: 'db',
    SourceType: 'consul',
    Action: 'allow',
    Meta: {},
    Precedence: 9,
    CreateIndex: index,
    ModifyIndex: index,
  });
  assert.equal(CreatedAt, UpdatedAt);
  for (let times = 0; times < 2; times++) {
    const deleted = await send(catalog, 'DELETE', exact('web', 'db'));
    assert.equal(deleted.status, 200);
    assert.equal(deleted.text, 'true');
  }
  assert.equal((await send(catalog, 'GET', '/v1/config/service-intentions/db')).status, 404);
});

test('both views show one truth: the entry holds the intentions, the intentions are the entry', async (t) => {
  const catalog = await startTestCatalog(t);
  await put(catalog, 'web', 'db', { Action: 'allow' });
  await put(catalog, '*', 'db', { Action: 'deny' });
  const entry = (await send(catalog, 'GET', '/v1/config/service-intentions/db')).json as {
    Sources: object[];
    ModifyIndex: number;
  };
  assert.deepEqual(entry.Sources, [
    { Name: 'web', Action: 'allow', Precedence: 9, Type: 'consul' },
    { Name: '*', Action: 'deny', Precedence: 8, Type: 'consul' },
  ]);
  const body = {
    kind: 'service-intentions',
    name: 'db',
    sources: [{ name: 'api', permissions: [{ action: 'allow', http: { path_exact: '/x', methods: ['get'] } }] }],
    meta: { owner: 'team' },
  };
  const stale = await send(catalog, 'PUT', `/v1/config?cas=${entry.ModifyIndex - 1}`, { body });
  assert.equal(stale.text, 'false');
  const swapped = await send(catalog, 'PUT', `/v1/config?cas=${entry.ModifyIndex}`, { body });
  assert.equal(swapped.text, 'true');
  const list = (await send(catalog, 'GET', '/v1/connect/intentions')).json as { Permissions: unknown; Meta: unknown }[];
  assert.deepEqual(names(list), ['api>db']);
  assert.deepEqual(list[0]?.Permissions, [{ Action: 'allow', HTTP: { PathExact: '/x', Methods: ['GET'] } }]);
  assert.deepEqual(list[0]?.Meta, { owner: 'team' });
  assert.equal((await send(catalog, 'PUT', '/v1/config?cas=0', { body })).text, 'false');
  assert.equal((await send(catalog, 'DELETE', '/v1/config/service-intentions/db')).text, '{}');
  assert.equal((await send(catalog, 'GET', '/v1/connect/intentions')).text, '[]');
});

test('match gives what is consulted, in order, under the names that were asked', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [source, destination] of [
    ['*', '*'],
    ['web', '*'],
    ['*', 'db'],
    ['web', 'db'],
    ['api', 'db'],
  ] as const) {
    await put(catalog, source, destination, { Action: 'allow' });
  }
  const byDestination = await send(
    catalog,
    'GET',
    '/v1/connect/intentions/match?by=destination&name=db&name=default/other',
  );
  const found = byDestination.json as Record<string, unknown>;
  assert.deepEqual(Object.keys(found), ['db', 'default/other']);
  assert.deepEqual(names(found['db']), ['api>db', 'web>db', '*>db', 'web>*', '*>*']);
  assert.deepEqual(names(found['default/other']), ['web>*', '*>*']);
  const bySource = (await send(catalog, 'GET', '/v1/connect/intentions/match?by=source&name=web')).json as Record<
    string,
    unknown
  >;
  assert.deepEqual(names(bySource['web']), ['web>db', '*>db', 'web>*', '*>*']);
});

test('check, authorize and our own check ask one evaluator', async (t) => {
  const catalog = await startTestCatalog(t);
  const authorize = async (uri: string, target = 'db') =>
    send(catalog, 'POST', '/v1/agent/connect/authorize', {
      body: { Target: target, ClientCertURI: uri, ClientCertSerial: '04:00' },
    });
  const web = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
  assert.equal(await allowed(catalog, 'web', 'db'), false);
  assert.deepEqual(((await authorize(web)).json as { Authorized: unknown }).Authorized, false);
  await put(catalog, 'web', 'db', { Action: 'allow' });
  assert.equal(await allowed(catalog, 'web', 'db'), true);
  const yes = (await authorize(web)).json as { Authorized: unknown; Reason: string };
  assert.equal(yes.Authorized, true);
  assert.match(yes.Reason, /web -> db/);
  const stranger = await authorize('spiffe://other.test/ns/default/dc/dc1/svc/web');
  assert.equal((stranger.json as { Authorized: unknown }).Authorized, false);
  assert.equal(catalog.authorize('db', web).Authorized, true);
  for (const [uri, target, text] of [
    [web, '', /^Target service must be specified$/],
    ['http://x', 'db', /^ClientCertURI not a valid Connect identifier$/],
    ['spiffe://mesh.test/agent', 'db', /^ClientCertURI not a valid Service identifier$/],
  ] as const) {
    const refused = await authorize(uri, target);
    assert.equal(refused.status, 400);
    assert.match(refused.text, text);
  }
});

test('permissions: a service that is tcp denies them all and the writer is told; as http each request is decided', async (t) => {
  const catalog = await startTestCatalog(t);
  const ask = async (question: object) =>
    (
      await send(catalog, 'POST', '/v1/mesh/intentions/check', {
        body: { source: 'web', destination: 'db', ...question },
      })
    ).json as { allowed: boolean; rule: string; reason: string; reading?: string; path?: string; warning?: string };
  const body = {
    Permissions: [
      { Action: 'deny', HTTP: { PathPrefix: '/orders/admin' } },
      { Action: 'allow', HTTP: { PathPrefix: '/orders', Methods: ['GET'] } },
    ],
  };
  const written = await put(catalog, 'web', 'db', body);
  assert.match(written.headers.get('x-selvedge-warning') ?? '', /Protocol is http/);
  const tcp = await ask({ path: '/orders' });
  assert.equal(tcp.allowed, false);
  assert.match(tcp.reason, /set Protocol http/);
  assert.match(tcp.warning ?? '', /Protocol is http/);

  const defaults = { Kind: 'service-defaults', Name: 'db', Protocol: 'http' };
  assert.equal((await send(catalog, 'PUT', '/v1/config', { body: defaults })).headers.get('x-selvedge-warning'), null);
  assert.equal(await allowed(catalog, 'web', 'db'), false, 'Consul: what requests decide is a no here');
  assert.equal((await ask({})).rule, 'per request');
  assert.equal((await ask({ path: '/orders' })).allowed, true);
  assert.equal((await ask({ path: '/orders', method: 'DELETE' })).allowed, false);
  const admin = await ask({ path: '/orders/x/../%61dmin' });
  assert.equal(admin.allowed, false);
  assert.match(admin.rule, /permission 1 \(deny\)/);
  const slash = { path: '/orders%2Fa%64min', method: 'GET' };
  assert.match((await ask(slash)).rule, /request target/);
  assert.match((await ask(slash)).reason, /PathWithEscapedSlashesAction of db/);
  const underscored = { path: '/orders', headers: { x_a: 'b' } };
  assert.match((await ask(underscored)).rule, /HeadersWithUnderscoresAction/);
  for (const [action, expected] of [
    ['KEEP_UNCHANGED', { allowed: false, path: '/orders%2Fadmin', reading: 'decoded: /orders/admin' }],
    ['UNESCAPE_AND_FORWARD', { allowed: false, path: '/orders/admin', reading: 'canonical: /orders/admin' }],
    ['UNESCAPE_AND_REDIRECT', { allowed: false, path: '/orders/admin', reading: 'canonical: /orders/admin' }],
  ] as const) {
    const words = { PathWithEscapedSlashesAction: action, HeadersWithUnderscoresAction: 'DROP_HEADER' };
    const HTTP = { Incoming: { RequestNormalization: words } };
    await send(catalog, 'PUT', '/v1/config', { body: { ...defaults, HTTP } });
    const { allowed, path, reading, reason } = await ask(slash);
    assert.deepEqual({ allowed, path, reading }, expected);
    assert.equal(/sent there first/.test(reason), action === 'UNESCAPE_AND_REDIRECT');
    assert.equal((await ask(underscored)).allowed, true);
    if (action === 'KEEP_UNCHANGED') assert.equal((await ask({ path: '/orders/a%2Fb' })).allowed, true);
  }
  const back = await send(catalog, 'PUT', '/v1/config', { body: { ...defaults, Protocol: 'tcp' } });
  assert.match(back.headers.get('x-selvedge-warning') ?? '', /Protocol is http/);
});

test('service-defaults round trip; what Consul refuses is refused', async (t) => {
  const catalog = await startTestCatalog(t);
  const body = { Kind: 'service-defaults', Name: 'db', Protocol: 'grpc', Meta: { a: 'b' } };
  assert.equal((await send(catalog, 'PUT', '/v1/config', { body })).text, 'true');
  const read = await send(catalog, 'GET', '/v1/config/service-defaults/db');
  const index = Number(read.headers.get('x-consul-index'));
  const shown = { ...body, TransparentProxy: {}, MeshGateway: {}, Expose: {}, CreateIndex: index, ModifyIndex: index };
  assert.deepEqual(read.json, shown);
  assert.deepEqual((await send(catalog, 'GET', '/v1/config/service-defaults')).json, [shown]);
  assert.equal(
    (await send(catalog, 'PUT', '/v1/config', { body: shown })).text,
    'true',
    'what was read can be written',
  );
  for (const wrong of [
    { ...body, Protocol: 'udp' },
    { ...body, Name: '*' },
    { ...body, MaxInboundConnections: 'x' },
    { ...body, MeshGateway: { Mode: 'loca' } },
    { ...body, Protocl: 'http' },
  ]) {
    const answer = await send(catalog, 'PUT', '/v1/config', { body: wrong });
    assert.equal(answer.status, 400, JSON.stringify(wrong));
  }
  assert.equal(
    (await send(catalog, 'PUT', '/v1/config', { body: { Kind: 'ingress-gateway', Name: 'db' } })).status,
    501,
  );
});

test('intentions that Consul refuses, and fields that nobody knows', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [body, text] of [
    [{}, /Action must be set to 'allow' or 'deny'/],
    [{ Action: 'allow', Permissions: [{ Action: 'allow', HTTP: { PathExact: '/' } }] }, /Action must be omitted/],
    [{ Permissions: [{ Action: 'allow', HTTP: {} }] }, /should not be empty/],
    [{ Permissions: [{ Action: 'deny', HTTP: { PathExact: 'x' } }] }, /doesn't start with '\/'/],
    [{ Action: 'allow', Actoin: 'deny' }, /unknown field "Actoin", did you mean Action\?/],
    [{ Action: 'allow', action: 'deny' }, /twice/],
    [{ Action: 'allow', Meta: { a: 'b' } }, /config entry/],
    ['{', /^Request decode failed/],
  ] as const) {
    const answer = await send(catalog, 'PUT', exact('web', 'db'), { body });
    assert.equal(answer.status, 400, JSON.stringify(body));
    assert.match(answer.text, text);
  }
  for (const [source, destination] of [
    ['web*', 'db'],
    ['peer:other/web', 'db'],
    ['team/web', 'db'],
    ['web', 'd b'],
    ['web', '%2e%2e'],
  ] as const) {
    assert.equal(
      (await put(catalog, source, destination, { Action: 'allow' })).status,
      400,
      `${source} ${destination}`,
    );
  }
  assert.equal((await send(catalog, 'POST', '/v1/connect/intentions', { body: {} })).status, 400);
  assert.equal((await send(catalog, 'GET', '/v1/connect/intentions')).text, '[]');
});

test('under default allow permissions do not silently open what a wider intention shut', async (t) => {
  const catalog = await startTestCatalog(t, { defaultIntentionPolicy: 'allow' });
  const narrow = { Permissions: [{ Action: 'deny', HTTP: { PathPrefix: '/admin' } }] };
  await send(catalog, 'PUT', '/v1/config', { body: { Kind: 'service-defaults', Name: 'db', Protocol: 'http' } });
  assert.equal((await put(catalog, 'web', 'db', narrow)).status, 200, 'nothing wider to hide');
  await put(catalog, '*', 'db', { Action: 'deny' });
  const refused = await put(catalog, 'api', 'db', narrow);
  assert.equal(refused.status, 409);
  assert.match(refused.text, /\* -> db/);
  const asEntry = await send(catalog, 'PUT', '/v1/config', {
    body: {
      Kind: 'service-intentions',
      Name: 'db',
      Sources: [
        { Name: '*', Action: 'deny' },
        { Name: 'api', ...narrow },
      ],
    },
  });
  assert.equal(asEntry.status, 409);
  assert.equal((await put(catalog, 'api', 'db', narrow, '&force')).status, 200);
  assert.equal((await put(catalog, 'job', 'db', { Action: 'allow' })).status, 200, 'an L4 allow says what it opens');
});
