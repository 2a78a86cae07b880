import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningCatalog } from '../main.ts';
import { send, startTestCatalog, workload } from '../testing/running-catalog.ts';

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
    [[{ Node: { Verb: 'nonsense', Node: { Node: 'n' } } }], 400, /^unknown Node verb "nonsense"$/],
    [[{ Node: { Verb: 'set', Node: { Node: 'n' } } }], 400, /^Must provide node and address$/],
    [[{ Service: { Verb: 'set', Node: 'n', Service: { ID: 'x' } } }], 400, /Must provide service name/],
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

const step = (kind: 'node' | 'service' | 'check', verb: string, ModifyIndex = 0): object => {
  if (kind === 'node') return { Node: { Verb: verb, Node: { Node: 'n1', Address: '10.0.0.1', ModifyIndex } } };
  if (kind === 'service') {
    return { Service: { Verb: verb, Node: 'n1', Service: { ID: 'web-1', Service: 'web', Port: 80, ModifyIndex } } };
  }
  return {
    Check: { Verb: verb, Check: { Node: 'n1', CheckID: 'c', ServiceID: 'web-1', Status: 'passing', ModifyIndex } },
  };
};
const all = ['node', 'service', 'check'] as const;

test('nodes, services and checks: made, read, compared and ended in one transaction', async (t) => {
  const catalog = await startTestCatalog(t);
  const txn = async (...body: object[]) => {
    const { status, json } = await send(catalog, 'PUT', '/v1/txn', { body });
    return { status, ...(json as { Results: Record<string, { ModifyIndex: number }>[]; Errors: { What: string }[] }) };
  };
  const missing = await txn(step('service', 'set'), step('check', 'set'));
  assert.deepEqual(missing.Errors, [
    { OpIndex: 0, What: 'Missing node registration' },
    { OpIndex: 1, What: 'Missing service registration: web-1' },
  ]);
  const made = await txn(...all.map((kind) => step(kind, 'cas')), { KV: { Verb: 'set', Key: 'k' } });
  assert.equal(made.status, 200);
  assert.deepEqual(
    made.Results.map((result) => Object.keys(result)[0]),
    ['Node', 'Service', 'Check', 'KV'],
  );
  const index = made.Results[0]?.['Node']?.ModifyIndex ?? 0;
  const read = await txn(...all.map((kind) => step(kind, 'get')));
  assert.deepEqual(read.Results, made.Results.slice(0, 3));
  const health = (await send(catalog, 'GET', '/v1/health/service/web')).json as { Checks: { ServiceName: string }[] }[];
  assert.deepEqual(
    health[0]?.Checks.map(({ ServiceName }) => ServiceName),
    ['web'],
  );

  for (const verb of ['cas', 'delete-cas']) {
    const stale = await txn(...all.map((kind) => step(kind, verb, index + 1)));
    assert.equal(stale.status, 409);
    assert.ok(stale.Errors.every(({ What }) => What.endsWith('index is stale')));
    assert.equal(stale.Errors.length, 3);
  }
  assert.equal((await txn(...all.map((kind) => step(kind, 'cas', index)))).status, 200);
  const ended = await txn(step('node', 'delete-cas', index), step('service', 'get'), step('check', 'get'));
  assert.deepEqual(
    ended.Errors.map(({ What }) => What),
    ['service "web-1" on node "n1" doesn\'t exist', 'check "c" on node "n1" doesn\'t exist'],
    'with the node all that is on it ends',
  );
  assert.equal((await txn(step('node', 'delete'))).status, 200);
  assert.deepEqual((await send(catalog, 'GET', '/v1/health/state/any')).json, []);
});

test('each step is judged by itself: a workload writes its own service, and nothing else with it', async (t) => {
  const catalog = await startTestCatalog(t, { open: false });
  const env = workload('web');
  const put = (...body: object[]) => send(catalog, 'PUT', '/v1/txn', { body, env });
  const registered = await send(catalog, 'PUT', '/v1/catalog/register', {
    env,
    body: { Node: 'n1', Address: '10.0.0.1', Service: { ID: 'web-1', Service: 'web' } },
  });
  assert.equal(registered.status, 200, registered.text);
  assert.equal((await put(step('service', 'set'), step('check', 'set'))).status, 200);
  const other = { Service: { Verb: 'set', Node: 'n1', Service: { ID: 'db-1', Service: 'db' } } };
  for (const more of [other, step('node', 'set'), step('node', 'delete'), { KV: { Verb: 'get', Key: 'k' } }]) {
    assert.equal((await put(step('service', 'delete'), more)).status, 403, JSON.stringify(more));
  }
  const taken = { Service: { Verb: 'set', Node: 'n1', Service: { ID: 'web-1', Service: 'db' } } };
  assert.equal((await put(taken)).status, 403);
  assert.equal((await put(step('service', 'get'))).status, 200, 'nothing of the refused ones was done');
});
