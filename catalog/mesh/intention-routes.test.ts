import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { waitFor } from '#test/wait-for.ts';
import type { RunningCatalog } from '../main.ts';
import { quietContext, send, startTestCatalog, workload } from '../testing/running-catalog.ts';

const at = (source: string, destination: string) => `/v1/mesh/intentions/${source}/${destination}`;
const codeOf = ({ json }: { json: unknown }) => (json as { code?: string }).code;

test('a pair is written, read, listed and deleted; both APIs show the same', async (t) => {
  const catalog = await startTestCatalog(t);
  const permissions = [{ action: 'allow', http: { pathPrefix: '/orders', methods: ['GET'] } }];
  const written = await send(catalog, 'PUT', at('web', 'db'), { body: { permissions, description: 'orders' } });
  assert.equal(written.status, 200);
  const { intention, warnings } = written.json as { intention: Record<string, unknown>; warnings: string[] };
  assert.match(warnings[0] ?? '', /protocol tcp/);
  assert.equal(written.headers.get('etag'), intention['etag']);
  const read = await send(catalog, 'GET', at('web', 'db'));
  assert.deepEqual(read.json, intention);
  assert.deepEqual(
    { ...intention, createdAt: 0, updatedAt: 0, revision: 0, etag: 0 },
    {
      source: 'web',
      destination: 'db',
      permissions,
      description: 'orders',
      precedence: 9,
      createdAt: 0,
      updatedAt: 0,
      revision: 0,
      etag: 0,
    },
  );
  const consul = await send(catalog, 'GET', '/v1/connect/intentions/exact?source=web&destination=db');
  assert.deepEqual((consul.json as { Permissions: unknown }).Permissions, [
    { Action: 'allow', HTTP: { PathPrefix: '/orders', Methods: ['GET'] } },
  ]);
  await send(catalog, 'PUT', at('*', '*'), { body: { action: 'deny' } });
  const list = (await send(catalog, 'GET', '/v1/mesh/intentions')).json as { source: string }[];
  assert.deepEqual(
    list.map(({ source }) => source),
    ['web', '*'],
  );
  for (const existed of [true, false]) {
    assert.deepEqual((await send(catalog, 'DELETE', at('web', 'db'))).json, { existed });
  }
  assert.equal(codeOf(await send(catalog, 'GET', at('web', 'db'))), 'SLV-3003');
});

test('what is not understood is refused', async (t) => {
  const catalog = await startTestCatalog(t);
  const cases: readonly [path: string, body: unknown, code: string][] = [
    [at('web', 'db'), {}, 'SLV-5004'],
    [at('web', 'db'), { action: 'permit' }, 'SLV-1009'],
    [at('web', 'db'), { action: 'allow', color: 'red' }, 'SLV-1009'],
    [at('web', 'db'), '{', 'SLV-1009'],
    [at('we*', 'db'), { action: 'allow' }, 'SLV-1009'],
    [`${at('web', 'db')}?force=maybe`, { action: 'allow' }, 'SLV-1009'],
  ];
  for (const [path, body, code] of cases) assert.equal(codeOf(await send(catalog, 'PUT', path, { body })), code, path);
});

test('If-Match and If-None-Match: nobody overwrites what he has not seen, and other sources do not disturb', async (t) => {
  const catalog = await startTestCatalog(t);
  const put = (action: string, headers: Record<string, string> = {}, source = 'web') =>
    send(catalog, 'PUT', at(source, 'db'), { body: { action }, headers });
  assert.equal((await put('allow', { 'if-match': '*' })).status, 412);
  const first = await put('allow', { 'if-none-match': '*' });
  assert.equal(first.status, 200);
  const tag = first.headers.get('etag') ?? '';
  assert.equal(codeOf(await put('deny', { 'if-none-match': '*' })), 'SLV-3007');
  assert.equal((await put('deny', {}, 'api')).status, 200);
  const second = await put('deny', { 'if-match': `"other", ${tag}` });
  assert.equal(second.status, 200);
  assert.notEqual(second.headers.get('etag'), tag);
  assert.equal((await put('allow', { 'if-match': tag })).status, 412);
  const deleted = await send(catalog, 'DELETE', at('web', 'db'), { headers: { 'if-match': tag } });
  assert.equal(deleted.status, 412);
  // Of writers that have read the same, one wins.
  const now = second.headers.get('etag') ?? '';
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      send(catalog, 'PUT', at('web', 'db'), {
        body: { action: 'allow', description: `writer ${index}` },
        headers: { 'if-match': now },
      }),
    ),
  );
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array.from({ length: 7 }, () => 412)]);
});

test('an allow to every service is meant as such', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [source, destination, action, status] of [
    ['web', '*', 'allow', 409],
    ['*', '*', 'allow', 409],
    ['*', '*', 'deny', 200],
    ['*', 'db', 'allow', 200],
  ] as const) {
    const answer = await send(catalog, 'PUT', at(source, destination), { body: { action } });
    assert.equal(answer.status, status, `${source} -> ${destination} ${action}`);
    if (status === 409) assert.equal(codeOf(answer), 'SLV-3011');
    const meant = await send(catalog, 'PUT', `${at(source, destination)}?everywhere`, { body: { action } });
    assert.equal(meant.status, 200);
  }
});

test('history: who changed what through either API, and back', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const headers = { 'x-consul-token': catalog.operatorToken ?? '' };
  const put = (body: object) => send(catalog, 'PUT', at('web', 'db'), { body, headers });
  await put({ action: 'deny' });
  await put({ action: 'deny' }); // says nothing new
  await send(catalog, 'PUT', at('api', 'db'), { body: { action: 'allow' }, headers });
  await send(catalog, 'PUT', '/v1/connect/intentions/exact?source=web&destination=db', {
    body: { Permissions: [{ Action: 'deny', HTTP: { PathPrefix: '/admin' } }] },
    headers,
  });
  await send(catalog, 'DELETE', '/v1/config/service-intentions/db', { headers });
  const writes = await history(catalog, 'destination=db&source=web', headers);
  assert.deepEqual(
    writes.map(({ how, by, diff }) => [how, by, diff]),
    [
      ['deleted', 'operator', ['- permission 1: deny PathPrefix "/admin"']],
      ['written', 'operator', ['- deny', '+ permission 1: deny PathPrefix "/admin"']],
      ['written', 'operator', ['+ deny']],
    ],
  );
  const all = await history(catalog, 'destination=db', headers);
  assert.equal(all.length, 5);
  assert.equal(all[0]?.revision, all[1]?.revision, 'both pairs ended in one transaction');

  const revert = (body: object) => send(catalog, 'POST', `${at('web', 'db')}/revert`, { body, headers });
  const said = async () => {
    const { action, permissions } = (await send(catalog, 'GET', at('web', 'db'), { headers })).json as Record<
      string,
      unknown
    >;
    return action ?? permissions;
  };
  assert.equal((await revert({ to: writes[2]?.revision })).status, 200);
  assert.equal(await said(), 'deny');
  assert.equal((await revert({ to: writes[1]?.revision })).status, 200);
  assert.deepEqual(await said(), [{ action: 'deny', http: { pathPrefix: '/admin' } }]);
  assert.equal((await revert({})).status, 200);
  assert.equal(await said(), 'deny');
  const ended = await revert({ to: writes[0]?.revision });
  assert.deepEqual(ended.json, { intention: null, warnings: [] });
  assert.equal(codeOf(await revert({ to: 1 })), 'SLV-3003');
  assert.equal((await history(catalog, 'destination=db&source=web', headers))[0]?.how, 'reverted');
  for (const env of [{}, workload('db')]) {
    for (const [method, path] of [
      ['GET', '/v1/mesh/intentions/history?destination=db'],
      ['POST', `${at('web', 'db')}/revert`],
      ['GET', at('web', 'db')],
      ['PUT', at('web', 'db')],
      ['DELETE', at('web', 'db')],
      ['GET', '/v1/mesh/intentions'],
    ] as const) {
      const body = method === 'GET' ? {} : { body: method === 'PUT' ? { action: 'allow' } : {} };
      assert.equal((await send(catalog, method, path, { env, ...body })).status, 403, `${method} ${path}`);
    }
  }
});

test('history is bounded: the oldest writes of a destination go', async (t) => {
  const catalog = await startTestCatalog(t);
  for (let index = 0; index < 40; index++) {
    await send(catalog, 'PUT', at('web', 'db'), { body: { action: 'allow', description: `${index}` } });
  }
  await send(catalog, 'PUT', at('web', 'cache'), { body: { action: 'allow' } });
  const writes = await history(catalog, 'destination=db');
  assert.equal(writes.length, 32);
  assert.deepEqual(writes[0]?.diff, ['- description "38"', '+ description "39"']);
  assert.equal((await history(catalog, 'destination=cache')).length, 1);
});

interface Write {
  readonly how: string;
  readonly by: string;
  readonly diff: string[];
  readonly revision: number;
}

async function history(catalog: RunningCatalog, query: string, headers = {}): Promise<Write[]> {
  return (await send(catalog, 'GET', `/v1/mesh/intentions/history?${query}`, { headers })).json as Write[];
}

test('an intention that has expired has no effect, is swept, and its end stands in the history', async (t) => {
  let aheadMs = 0;
  const context = { ...quietContext(), clock: () => Date.now() + aheadMs };
  const { log } = context;
  const catalog = await startTestCatalog(t, {}, () => openSqliteStore({ path: undefined, log }), context);
  const expiresAt = new Date(Date.now() + 600_000).toISOString();
  const written = await send(catalog, 'PUT', at('web', 'db'), { body: { action: 'allow', expiresAt } });
  assert.equal((written.json as { intention: { expiresAt: string } }).intention.expiresAt, expiresAt);
  // A client that knows no ends leaves it.
  await send(catalog, 'PUT', '/v1/connect/intentions/exact?source=web&destination=db', { body: { Action: 'allow' } });
  assert.equal(((await send(catalog, 'GET', at('web', 'db'))).json as { expiresAt: string }).expiresAt, expiresAt);
  const question = { source: 'web', destination: 'db' };
  const isAllowed = async () => {
    const { json } = await send(catalog, 'POST', '/v1/mesh/intentions/check', { body: question });
    return (json as { allowed: boolean }).allowed;
  };
  assert.equal(await isAllowed(), true);
  aheadMs = 600_000;
  assert.equal(await isAllowed(), false);
  const isEmpty = async () => (await send(catalog, 'GET', '/v1/connect/intentions')).text === '[]';
  await waitFor('the sweep', isEmpty, 10_000);
  const [ended] = await history(catalog, 'destination=db');
  assert.deepEqual([ended?.how, ended?.by, ended?.diff], ['expired', 'catalog', ['- allow', `- expires ${expiresAt}`]]);
  assert.equal(codeOf(await send(catalog, 'POST', `${at('web', 'db')}/revert`, { body: {} })), 'SLV-5004');
});

test('observe mode is refused where it would open what is denied now', async (t) => {
  for (const [defaultIntentionPolicy, before, body, status] of [
    ['deny', undefined, { action: 'deny', observe: true }, 409],
    ['allow', undefined, { action: 'deny', observe: true }, 200],
    ['deny', { action: 'allow' }, { action: 'deny', observe: true }, 200],
    ['deny', { action: 'deny' }, { action: 'deny', observe: true }, 409],
    [
      'allow',
      { permissions: [{ action: 'deny', http: { pathPrefix: '/a' } }] },
      { permissions: [{ action: 'deny', http: { pathPrefix: '/b' } }], observe: true },
      409,
    ],
  ] as const) {
    const catalog = await startTestCatalog(t, { defaultIntentionPolicy });
    if (before !== undefined) await send(catalog, 'PUT', at('web', 'db'), { body: before });
    const answer = await send(catalog, 'PUT', at('web', 'db'), { body });
    assert.equal(answer.status, status, JSON.stringify([before, body]));
    if (status === 409) assert.equal(codeOf(answer), 'SLV-3005');
    assert.equal((await send(catalog, 'PUT', `${at('web', 'db')}?force`, { body })).status, 200);
    assert.equal(
      (await send(catalog, 'PUT', at('web', 'db'), { body })).status,
      200,
      'once it observes it may stay so',
    );
  }
  const catalog = await startTestCatalog(t);
  const guard = { permissions: [{ action: 'deny', http: { pathPrefix: '/a' } }], observe: true };
  assert.equal((await send(catalog, 'PUT', at('*', '*'), { body: guard })).status, 200, 'a guard lets nobody in');
});

test('lint: the writer is warned of rules that do not hold, through both APIs, and all that is stored can be looked at', async (t) => {
  const catalog = await startTestCatalog(t);
  await send(catalog, 'PUT', '/v1/config', { body: { Kind: 'service-defaults', Name: 'db', Protocol: 'http' } });
  const rule = (action: string, pathPrefix: string) => ({ action, http: { pathPrefix } });
  const shadowed = { permissions: [rule('allow', '/orders'), rule('deny', '/orders/internal')] };
  const ours = (await send(catalog, 'PUT', at('web', 'db'), { body: shadowed })).json as { warnings: string[] };
  assert.match(
    ours.warnings.join(),
    /^web -> db: permission 2 \(deny PathPrefix "\/orders\/internal"\) does not hold: permission 1/,
  );
  const consul = await send(catalog, 'PUT', '/v1/connect/intentions/exact?source=api&destination=db', {
    body: {
      Permissions: [
        { Action: 'deny', HTTP: { PathRegex: '/ädmin|/admin' } },
        { Action: 'deny', HTTP: { PathRegex: 'admin' } },
      ],
    },
  });
  assert.match(consul.headers.get('x-selvedge-warning') ?? '', /^api -> db: permission 2 .* can never match/);
  // Who writes a guard hears whom it cuts.
  const guard = await send(catalog, 'PUT', at('*', '*'), { body: { permissions: [rule('deny', '/orders')] } });
  assert.match(
    (guard.json as { warnings: string[] }).warnings.join(),
    /web -> db: permission 1 .* lets nothing in: guard \* -> \* permission 1/,
  );
  // What is refused before anybody judges it is never allowed.
  const doubled = { action: 'deny', http: { pathRegex: '/x//y' } };
  const slashed = { permissions: [rule('deny', '/x%2Fy'), rule('allow', '/repos/a%2fb'), doubled] };
  const jobs = (await send(catalog, 'PUT', at('jobs', 'db'), { body: slashed })).json as { warnings: string[] };
  assert.match(jobs.warnings.join(), /^jobs -> db: permission 2 can never match: db refuses the encoded slashes/);
  const lint = async () => {
    const all = (await send(catalog, 'GET', '/v1/mesh/intentions/lint')).json as { source: string; problem: string }[];
    return all.map(({ source, problem }) => `${source} ${problem}`).sort();
  };
  const others = ['web cut-by-guard', 'web shadowed-deny'];
  assert.deepEqual(await lint(), ['api never-matches', 'jobs never-matches', 'jobs never-matches', ...others]);
  const HTTP = { Incoming: { RequestNormalization: { PathWithEscapedSlashesAction: 'KEEP_UNCHANGED' } } };
  await send(catalog, 'PUT', '/v1/config', { body: { Kind: 'service-defaults', Name: 'db', Protocol: 'http', HTTP } });
  assert.deepEqual(await lint(), ['api never-matches', ...others]);
});
