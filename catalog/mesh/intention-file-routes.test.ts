import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIntentionFile, type IntentionFile, parseIntentionFile } from '#policies/intention-file.ts';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const exported = async (catalog: RunningCatalog) =>
  (await send(catalog, 'GET', '/v1/mesh/intentions/export')).json as IntentionFile;
const takeIn = (catalog: RunningCatalog, body: unknown, query = '') =>
  send(catalog, 'POST', `/v1/mesh/intentions/import${query}`, { body });
const fileOf = (intentions: object[], more: object = {}) => ({
  kind: 'selvedge-intentions',
  version: 1,
  intentions,
  ...more,
});
const codeOf = ({ json }: { json: unknown }) => (json as { code?: string }).code;

test('what is exported and imported elsewhere is exported again to the byte, with modes, ends, descriptions and Meta', async (t) => {
  const [from, to] = [await startTestCatalog(t), await startTestCatalog(t)];
  const file = fileOf(
    [
      {
        source: '*',
        destination: '*',
        permissions: [
          {
            action: 'deny',
            http: { pathPrefix: '/admin', headers: [{ name: 'x', exact: 'ä'.normalize('NFD').slice(0, 1) }] },
          },
        ],
      },
      {
        source: 'web',
        destination: 'db',
        action: 'allow',
        description: 'orders\n"quoted" – ü',
        expiresAt: '2035-01-31T00:00:00.000Z',
      },
      {
        source: 'api',
        destination: 'db',
        permissions: [{ action: 'allow', http: { pathRegex: '/[a-z]+', methods: ['GET'] } }],
        observe: true,
      },
    ],
    { meta: { db: { owner: 'team-a' } } },
  );
  const first = await takeIn(from, file, '?apply&force');
  assert.equal(first.status, 200, first.text);
  const one = await send(from, 'GET', '/v1/mesh/intentions/export');
  assert.equal((await takeIn(to, JSON.parse(one.text), '?apply&force')).status, 200);
  assert.equal((await send(to, 'GET', '/v1/mesh/intentions/export')).text, one.text);
  assert.deepEqual((await exported(to)).meta, { db: { owner: 'team-a' } });
  const again = (await takeIn(to, JSON.parse(one.text), '?apply&prune')).json as {
    changes: unknown[];
    unchanged: number;
  };
  assert.deepEqual([again.changes, again.unchanged], [[], 3]);
  assert.equal(
    formatIntentionFile([]).intentions.length,
    parseIntentionFile(formatIntentionFile([]), 0).destinations.length,
  );
});

test('nothing is written without apply; what the file does not name stays, unless pruned', async (t) => {
  const catalog = await startTestCatalog(t);
  await takeIn(
    catalog,
    fileOf([
      { source: 'web', destination: 'db', action: 'allow' },
      { source: 'web', destination: 'cache', action: 'allow' },
    ]),
    '?apply',
  );
  const file = fileOf([{ source: 'api', destination: 'db', action: 'deny' }]);
  const dry = (await takeIn(catalog, file, '?prune')).json as {
    applied: boolean;
    changes: { source: string; destination: string; diff: string[] }[];
  };
  assert.equal(dry.applied, false);
  assert.deepEqual(
    dry.changes.map(({ source, destination, diff }) => `${source} ${destination} ${diff.join()}`).sort(),
    ['api db + deny', 'web cache - allow', 'web db - allow'],
  );
  assert.equal((await exported(catalog)).intentions.length, 2);
  await takeIn(catalog, file, '?apply');
  assert.equal((await exported(catalog)).intentions.length, 3);
  await takeIn(catalog, file, '?apply&prune');
  assert.deepEqual((await exported(catalog)).intentions, [{ source: 'api', destination: 'db', action: 'deny' }]);
  const writes = await send(catalog, 'GET', '/v1/mesh/intentions/history?destination=cache');
  assert.equal((writes.json as { how: string }[])[0]?.how, 'imported');
  // Of a form without modes, the mode that there is stays.
  await takeIn(catalog, fileOf([{ source: 'api', destination: 'db', action: 'deny', observe: true }]), '?apply&force');
  const kept = (await takeIn(catalog, file, '?apply&keep-modes')).json as { changes: unknown[] };
  assert.deepEqual(kept.changes, []);
});

test('one wrong intention and nothing of the file is written', async (t) => {
  const catalog = await startTestCatalog(t);
  const good = { source: 'web', destination: 'db', action: 'allow' };
  const cases: readonly [file: unknown, code: string][] = [
    [fileOf([good, { source: 'web', destination: 'db', action: 'deny' }]), 'SLV-5004'],
    [fileOf([good, { source: 'we*', destination: 'db', action: 'deny' }]), 'SLV-5004'],
    [
      fileOf([
        good,
        { source: 'api', destination: 'db', permissions: [{ action: 'deny', http: { pathPrefix: '/a/%00' } }] },
      ]),
      'SLV-5004',
    ],
    [fileOf([good, { source: 'api', destination: 'db', action: 'deny', unknown: 1 }]), 'SLV-1009'],
    [fileOf([good], { meta: { cache: { a: 'b' } } }), 'SLV-5004'],
    [{ ...fileOf([good]), version: 2 }, 'SLV-1009'],
    [fileOf([good, { source: '*', destination: '*', action: 'allow' }]), 'SLV-3011'],
    [fileOf([good, { source: 'api', destination: 'db', action: 'deny', observe: true }]), 'SLV-3005'],
  ];
  for (const [file, code] of cases)
    assert.equal(codeOf(await takeIn(catalog, file, '?apply')), code, JSON.stringify(file));
  assert.deepEqual((await exported(catalog)).intentions, []);
  const past = (await takeIn(catalog, fileOf([{ ...good, expiresAt: '2020-01-01T00:00:00Z' }]), '?apply')).json;
  assert.deepEqual((past as { ended: unknown }).ended, [{ source: 'web', destination: 'db' }]);
});

test('what no transaction holds goes in steps of whole destinations, and not along with what stands for all of them', async (t) => {
  const catalog = await startTestCatalog(t);
  const many = Array.from({ length: 90 }, (_, index) => ({
    source: 'web',
    destination: `db-${index}`,
    action: 'allow',
  }));
  const guard = { source: '*', destination: '*', action: 'deny' };
  assert.equal(codeOf(await takeIn(catalog, fileOf([...many, guard]), '?apply')), 'SLV-3012');
  assert.equal((await exported(catalog)).intentions.length, 0);
  const whole = (await takeIn(catalog, fileOf(many), '?apply')).json as { steps: number };
  assert.equal(whole.steps, 3);
  assert.equal((await exported(catalog)).intentions.length, 90);
  assert.equal((await takeIn(catalog, fileOf([guard]), '?apply')).status, 200);
});
