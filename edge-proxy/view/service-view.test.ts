import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import type { FeedIntentions, FeedResource, FeedUpstream } from '#policies/wire/feed.ts';
import { createLogger } from '#runtime/logging.ts';
import { ServiceView } from './service-view.ts';
import { ViewCache } from './view-cache.ts';

const log = createLogger({ process: 'test', level: 'silent' });

const rule = (action: 'allow' | 'deny', source = 'web') => ({
  source,
  destination: 'db',
  action,
  precedence: 9,
  createdAtMs: 0,
  updatedAtMs: 0,
  createIndex: 1,
  modifyIndex: 1,
});
const intentions = (...rules: FeedIntentions['intentions']): FeedIntentions => ({
  kind: 'intentions',
  name: 'db',
  protocol: 'tcp',
  defaultAction: 'deny',
  intentions: rules,
});
const upstream = (change: object = {}): FeedUpstream => ({
  kind: 'upstream',
  name: 'cache',
  protocol: 'tcp',
  endpoints: [
    {
      id: 'n/cache',
      node: 'n',
      address: '10.0.0.1',
      port: 21_000,
      spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/cache',
      status: 'passing',
      weight: 1,
    },
  ],
  resilience: {},
  ...change,
});
const update = (revision: number, resources: readonly unknown[], reset = false) => ({
  revision,
  reset,
  resources: resources as FeedResource[],
});
/** Whether `web` may connect to `db`, as this view knows it. */
const mayConnect = (view: ServiceView, source = 'web'): boolean => {
  const verdict = view.inbound?.intentions.forSource(source).connection;
  return verdict !== undefined && verdict !== 'per-request' && verdict.allowed;
};

describe('a view', () => {
  test('knows nothing, allows nothing, and then what it is told', () => {
    const view = new ServiceView('db', Date.now);
    assert.equal(mayConnect(view), false);
    const changes: unknown[] = [];
    view.onInbound(() => changes.push('inbound'));
    view.onUpstream('cache', (next) => changes.push(next?.destinations.get('cache')?.targets[0]?.endpoints.length));
    assert.deepEqual(view.apply(update(7, [intentions(rule('allow')), upstream()]), 'feed'), []);
    assert.equal(mayConnect(view), true);
    assert.equal(view.revision, 7);
    view.apply(update(8, [intentions(rule('deny')), upstream({ endpoints: [] })]), 'feed');
    assert.equal(mayConnect(view), false);
    assert.deepEqual(changes, ['inbound', 1, 'inbound', 0]);
  });

  test('forgets what has expired when it is asked to look at its clock, and tells once', () => {
    let nowMs = 1_000;
    const view = new ServiceView('db', () => nowMs);
    const ending = { ...rule('allow'), expiresAtMs: 2_000 };
    view.apply(update(7, [intentions(ending)]), 'feed');
    let changes = 0;
    view.onInbound(() => {
      changes += 1;
    });
    for (const [atMs, allowed, told] of [
      [1_999, true, 0],
      [2_000, false, 1],
      [9_000, false, 1],
    ] as const) {
      nowMs = atMs;
      view.expire();
      assert.deepEqual([mayConnect(view), changes, view.revision], [allowed, told, 7]);
    }
    const restarted = new ServiceView('db', () => nowMs);
    restarted.apply(update(7, view.resources(), true), 'cache');
    assert.equal(mayConnect(restarted), false, 'nor does it come back from the cache');
  });

  for (const [name, resource] of [
    ['a field that is not known', { ...intentions(rule('allow', 'evil')), onlyOnSundays: true }],
    ['a field that is not known within a rule', intentions({ ...rule('allow', 'evil'), onlyOnSundays: true } as never)],
    [
      'a match that is not known',
      intentions({
        ...rule('allow', 'evil'),
        action: undefined,
        permissions: [{ action: 'allow', http: { weather: 'fair' } }],
      } as never),
    ],
    ['another protocol', { ...intentions(rule('allow', 'evil')), protocol: 'quic' }],
    ['a field that is missing', { ...intentions(), defaultAction: undefined }],
    ['intentions of another service', { ...intentions(rule('allow', 'evil')), name: 'other' }],
  ] as const) {
    test(`${name}: the last good ones stay, and where there are none it denies`, () => {
      const known = new ServiceView('db', Date.now);
      known.apply(update(1, [intentions(rule('allow'))]), 'feed');
      const empty = new ServiceView('db', Date.now);
      for (const view of [known, empty]) {
        const [rejected] = view.apply(update(2, [resource], true), 'feed');
        assert.equal(rejected?.kind, 'intentions');
        assert.equal(mayConnect(view, 'evil'), false);
      }
      assert.equal(mayConnect(empty), false);
      if (name !== 'intentions of another service') assert.equal(mayConnect(known), true);
    });
  }

  for (const [name, change] of [
    ['an endpoint that proves to be nobody', { endpoints: [{ ...upstream().endpoints[0], spiffeId: 'db' }] }],
    ['a port that is none', { endpoints: [{ ...upstream().endpoints[0], port: 65_536 }] }],
    ['a policy that is none', { resilience: { retries: 7 } }],
    ['a field that is not known', { mirror: 'all' }],
  ] as const) {
    test(`an upstream with ${name}: the last good one stays, whole`, () => {
      const view = new ServiceView('db', Date.now);
      view.apply(update(1, [upstream()]), 'feed');
      const before = view.upstreams.get('cache');
      assert.equal(view.apply(update(2, [upstream(change)]), 'feed').length, 1);
      assert.equal(view.upstreams.get('cache'), before);
    });
  }

  test('one bad resource does not stop the others of its update', () => {
    const view = new ServiceView('db', Date.now);
    assert.equal(view.apply(update(1, [{ ...upstream(), port: 1 }, intentions(rule('allow'))]), 'feed').length, 1);
    assert.equal(mayConnect(view), true);
  });

  test('a reset forgets what is not in it', () => {
    const view = new ServiceView('db', Date.now);
    view.apply(update(1, [intentions(rule('allow')), upstream()]), 'feed');
    view.apply(update(2, [upstream()], true), 'feed');
    assert.equal(mayConnect(view), false);
    assert.equal(view.upstreams.size, 1);
  });
});

describe('its cache', () => {
  async function directory(t: TestContext): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'selvedge-view-'));
    t.after(() => rm(path, { recursive: true }));
    return path;
  }
  const saved = async (stateDir: string): Promise<string> => {
    const view = new ServiceView('db', Date.now);
    view.apply(update(5, [intentions(rule('allow')), upstream()]), 'feed');
    view.confirmedAtMs = 1_000;
    const cache = new ViewCache(stateDir, 'db', log);
    cache.save(view);
    cache.save(view);
    await cache.settled();
    return join(stateDir, 'view-db.json');
  };

  test('brings back what was known, no wider, with its age, and only for the owner to read', async (t) => {
    const stateDir = await directory(t);
    const file = await saved(stateDir);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const view = new ServiceView('db', Date.now);
    assert.equal(await new ViewCache(stateDir, 'db', log).load(view, 1_000), true);
    assert.equal(mayConnect(view), true);
    assert.equal(mayConnect(view, 'other'), false);
    assert.deepEqual([view.revision, view.origin, view.confirmedAtMs], [5, 'cache', 1_000]);
    assert.equal(view.upstreams.get('cache')?.destinations.get('cache')?.targets[0]?.endpoints.length, 1);
  });

  test('older than it may be it is nothing, which denies', async (t) => {
    const stateDir = await directory(t);
    await saved(stateDir);
    const view = new ServiceView('db', Date.now);
    assert.equal(await new ViewCache(stateDir, 'db', log).load(view, 1_001), false);
    assert.deepEqual([view.inbound, view.origin], [undefined, 'nothing']);
  });

  test('no file is nothing', async (t) => {
    const view = new ServiceView('db', Date.now);
    assert.equal(await new ViewCache(await directory(t), 'db', log).load(view, 1_000), false);
    assert.equal(view.inbound, undefined);
  });

  test('that it can’t be written is said once, again ten minutes later, and when it is over', async (t) => {
    const stateDir = await directory(t);
    const said: string[] = [];
    let nowMs = 0;
    const listening = pino({}, { write: (line: string) => said.push(JSON.parse(line).msg.split(':')[0]) });
    const cache = new ViewCache(stateDir, 'db', listening, () => nowMs);
    const save = async () => {
      cache.save(new ServiceView('db', Date.now));
      await cache.settled();
    };
    const inItsPlace = join(stateDir, 'view-db.json');
    await mkdir(inItsPlace);
    for (let count = 0; count < 5; count++) await save();
    assert.deepEqual(said, ['view not saved']);
    nowMs += 600_000;
    await save();
    await save();
    await rmdir(inItsPlace);
    await save();
    await save();
    assert.deepEqual(said.slice(1), ['view not saved', 'view saved again']);
    await rm(inItsPlace);
    await mkdir(inItsPlace);
    await save();
    assert.equal(said.length, 4);
  });

  for (const [name, damage] of [
    ['cut off', (text: string) => text.slice(0, -20)],
    ['empty', () => ''],
    ['of another format', (text: string) => text.replace('"format":1', '"format":2')],
    ['of another service', (text: string) => text.replace('"service":"db"', '"service":"web"')],
    ['with a field that is not known', (text: string) => text.replace('"format":1', '"format":1,"trust":"all"')],
    [
      'with a rule that is not known',
      (text: string) => text.replace('"action":"allow"', '"action":"allow","unless":"x"'),
    ],
    ['with an action that is none', (text: string) => text.replace('"action":"allow"', '"action":"permit"')],
    ['not of bytes that are text', () => '\u0000\u0001'],
  ] as const) {
    test(`a file ${name} is nothing, which denies`, async (t) => {
      const stateDir = await directory(t);
      const file = await saved(stateDir);
      const text = await readFile(file, 'utf8');
      assert.notEqual(damage(text), text);
      await writeFile(file, damage(text));
      const view = new ServiceView('db', Date.now);
      assert.equal(await new ViewCache(stateDir, 'db', log).load(view, 1_000), false);
      assert.deepEqual([view.inbound, view.upstreams.size, view.revision, view.origin], [undefined, 0, 0, 'nothing']);
    });
  }
});
