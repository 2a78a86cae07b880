import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog } from '../testing/running-catalog.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

function clientOf(catalog: RunningCatalog) {
  return {
    txn: async (...steps: object[]) => {
      const body = JSON.stringify(steps.map((KV) => ({ KV })));
      const response = await fetch(`${catalog.url}/v1/txn`, { method: 'PUT', body });
      return { status: response.status, json: JSON.parse(await response.text()) };
    },
    value: async (key: string) => {
      const response = await fetch(`${catalog.url}/v1/kv/${key}?raw`);
      const text = await response.text();
      return response.ok ? text : undefined;
    },
  };
}

test('all steps or none, in their order, each on what those before it left', async (t) => {
  const { txn, value } = clientOf(await startTestCatalog(t));
  const made = await txn(
    { Verb: 'set', Key: 'a', Value: base64('1'), Flags: 7 },
    { Verb: 'get', Key: 'a' },
    { Verb: 'set', Key: 'dir/b', Value: base64('2') },
    { Verb: 'get-tree', Key: 'dir/' },
    { Verb: 'delete', Key: 'dir/b' },
    { Verb: 'check-not-exists', Key: 'dir/b' },
    { verb: 'get-or-empty', key: 'none' },
  );
  assert.equal(made.status, 200);
  const { Results } = made.json;
  const index = Results[0].KV.ModifyIndex;
  assert.ok(index > 1);
  assert.deepEqual(Results.slice(0, 2), [
    { KV: { LockIndex: 0, Key: 'a', Flags: 7, Value: null, CreateIndex: index, ModifyIndex: index } },
    { KV: { LockIndex: 0, Key: 'a', Flags: 7, Value: base64('1'), CreateIndex: index, ModifyIndex: index } },
  ]);
  assert.deepEqual(
    Results.slice(2).map(({ KV }: { KV: { Key: string; Value: string | null } }) => [KV.Key, KV.Value]),
    [
      ['dir/b', null],
      ['dir/b', base64('2')],
      ['none', null],
    ],
  );
  assert.equal(await value('dir/b'), undefined);

  const failed = await txn(
    { Verb: 'set', Key: 'a', Value: base64('3') },
    { Verb: 'cas', Key: 'a', Index: index },
    { Verb: 'get', Key: 'none' },
    { Verb: 'check-index', Key: 'none', Index: 1 },
    { Verb: 'check-not-exists', Key: 'a' },
  );
  assert.equal(failed.status, 409);
  assert.deepEqual(failed.json, {
    Results: null,
    Errors: [
      { OpIndex: 1, What: 'failed to set key "a", index is stale' },
      { OpIndex: 2, What: 'key "none" doesn\'t exist' },
      { OpIndex: 3, What: 'key "none" doesn\'t exist' },
      { OpIndex: 4, What: 'key "a" exists' },
    ],
  });
  assert.equal(await value('a'), '1');
});

test('cas, check-index, delete-cas and delete-tree', async (t) => {
  const { txn, value } = clientOf(await startTestCatalog(t));
  const set = await txn({ Verb: 'cas', Key: 'a', Index: 0, Value: base64('1') }, { Verb: 'set', Key: 'd/1' });
  const Index = set.json.Results[0].KV.ModifyIndex;
  assert.equal((await txn({ Verb: 'check-index', Key: 'a', Index })).status, 200);
  assert.equal((await txn({ Verb: 'check-index', Key: 'a', Index: Index + 1 })).status, 409);
  assert.equal((await txn({ Verb: 'delete-cas', Key: 'a', Index: Index + 1 })).status, 409);
  const ended = await txn({ Verb: 'delete-cas', Key: 'a', Index }, { Verb: 'delete-tree', Key: 'd/' });
  assert.deepEqual(ended, { status: 200, json: { Results: null, Errors: null } });
  assert.deepEqual([await value('a'), await value('d/1')], [undefined, undefined]);
  assert.equal((await txn({ Verb: 'delete', Key: 'a' })).status, 200);
});

test('sums over two keys stay whole when many move amounts between them', async (t) => {
  const catalog = await startTestCatalog(t);
  const { txn, value } = clientOf(catalog);
  await txn({ Verb: 'set', Key: 'x', Value: base64('50') }, { Verb: 'set', Key: 'y', Value: base64('50') });
  const move = async (amount: number): Promise<void> => {
    for (;;) {
      const { json } = await txn({ Verb: 'get', Key: 'x' }, { Verb: 'get', Key: 'y' });
      const [x, y] = json.Results.map(({ KV }: { KV: { Value: string; ModifyIndex: number } }) => ({
        amount: Number(Buffer.from(KV.Value, 'base64').toString()),
        index: KV.ModifyIndex,
      }));
      const { status } = await txn(
        { Verb: 'cas', Key: 'x', Index: x.index, Value: base64(String(x.amount - amount)) },
        { Verb: 'cas', Key: 'y', Index: y.index, Value: base64(String(y.amount + amount)) },
      );
      if (status === 200) return;
    }
  };
  await Promise.all([1, 2, 3, 4].map(move));
  assert.deepEqual([await value('x'), await value('y')], ['40', '60']);
});

test('what is refused', async (t) => {
  const catalog = await startTestCatalog(t);
  for (const [body, status, text] of [
    ['{', 400, /^Failed to parse body: /],
    [{}, 400, /^Failed to parse body: /],
    [[{}], 400, /says nothing/],
    [[{ KV: { Verb: 'set', Key: 'a', Value: '%' } }], 400, /^Failed to parse body: 0\.KV\.Value/],
    [[{ KV: { Verb: 'set', Key: '' } }], 400, /^Missing key name$/],
    [[{ KV: { Verb: 'set', Key: '\ud800' } }], 400, /not well-formed/],
    [[{ KV: { Verb: 'nonsense', Key: 'a' } }], 400, /^unknown KV verb "nonsense"$/],
    [[{ KV: { Verb: 'lock', Key: 'a' } }], 501, /^Sessions and locks are not offered/],
    [[{ Node: { Verb: 'get', Node: { Node: 'n' } } }], 501, /over the KV only/],
    [Array.from({ length: 65 }, () => ({ KV: { Verb: 'get', Key: 'a' } })), 413, /too many operations \(65 > 64\)$/],
  ] as const) {
    const answer = await send(catalog, 'PUT', '/v1/txn', { body });
    assert.equal(answer.status, status, JSON.stringify(body).slice(0, 80));
    assert.match(answer.text, text);
  }
  const many = Array.from({ length: 60 }, (_, at) => ({ KV: { Verb: 'set', Key: `t/${at}` } }));
  const more = Array.from({ length: 64 }, (_, at) => ({ KV: { Verb: 'set', Key: `t/more/${at}` } }));
  for (const body of [many, more]) assert.equal((await send(catalog, 'PUT', '/v1/txn', { body })).status, 200);
  const tree = await send(catalog, 'PUT', '/v1/txn', { body: [{ KV: { Verb: 'delete-tree', Key: 't/' } }] });
  assert.deepEqual([tree.status, tree.text], [413, 'Transaction concerns more than 120 keys']);
  const guarded = await startTestCatalog(t, { open: false });
  assert.equal((await send(guarded, 'PUT', '/v1/txn', { body: [] })).status, 403);
});
