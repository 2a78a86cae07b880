import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { Compare, Operation, Store, Transaction } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { quietContext } from '../testing/running-catalog.ts';
import { WriteGroups } from './write-groups.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const put = (key: string, value = key): Operation => ({ kind: 'put', key, value: bytes(value) });
const absent = (key: string): Compare => ({ kind: 'absent', key });
const marker = put('marker');

/** A real store whose transactions are noted, and fail as the test says. */
async function groupsOver(t: TestContext, fault?: (transaction: Transaction) => MeshError | undefined) {
  const real = await openSqliteStore({ path: undefined, ...quietContext() });
  t.after(() => real.close());
  const transactions: string[][] = [];
  const store: Store = new Proxy(real, {
    get(target, name) {
      if (name === 'txn')
        return (transaction: Transaction) => {
          transactions.push(
            transaction.success.flatMap((one) =>
              one.kind === 'delete-prefix' ? [`${one.prefix}*`] : one.key === 'marker' ? [] : [one.key],
            ),
          );
          const failure = fault?.(transaction);
          return failure === undefined ? target.txn(transaction) : Promise.reject(failure);
        };
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { groups: new WriteGroups(store, marker), store, transactions };
}

test('writes of one turn, and those that come while one is under way, go together and get one revision', async (t) => {
  const { groups, store, transactions } = await groupsOver(t);
  const first = [groups.write([absent('a')], [put('a')]), groups.write([absent('b')], [put('b'), put('c')])];
  await Promise.resolve();
  await Promise.resolve();
  const later = [groups.write([], [put('d')]), groups.write([], [{ kind: 'delete', key: 'never' }])];
  const [one, two, three, four] = await Promise.all([...first, ...later]);
  assert.deepEqual(transactions, [
    ['a', 'b', 'c'],
    ['d', 'never'],
  ]);
  assert.ok(one?.succeeded && one.revision === two?.revision && (three?.revision ?? 0) > one.revision);
  assert.equal(three?.revision, four?.revision);
  assert.equal((await store.get('marker'))?.modRevision, three?.revision);
});

test('what one writes or compares, no other of its group writes; a prefix goes alone', async (t) => {
  const { groups, transactions } = await groupsOver(t);
  await Promise.all([
    groups.write([absent('x')], [put('x')]),
    groups.write([], [put('x', '2')]), // writes the same
    groups.write([{ kind: 'present', key: 'x' }], [put('y')]), // compares what the first writes
    groups.write([absent('q')], [put('z')]),
    groups.write([absent('q')], [put('w')]), // compares the same: no matter
    groups.write([], [put('q')]), // writes what they compare
    groups.write([], [{ kind: 'delete-prefix', prefix: 'p/' }]),
    groups.write([], [put('v')]),
  ]);
  assert.deepEqual(transactions, [['x', 'z', 'w', 'v'], ['x', 'q'], ['y'], ['p/*']]);
});

test('one whose compare does not hold is told so, and takes nobody along', async (t) => {
  const { groups, store } = await groupsOver(t);
  await store.put('taken', bytes('1'));
  const before = (await store.status()).revision;
  const [good, bad, other] = await Promise.all([
    groups.write([absent('a')], [put('a')]),
    groups.write([absent('taken')], [put('taken', '2')]),
    groups.write([], [put('b')]),
  ]);
  assert.deepEqual([good?.succeeded, bad?.succeeded, other?.succeeded], [true, false, true]);
  assert.equal((await store.get('taken'))?.modRevision, before);
  assert.ok((await store.get('a')) !== undefined && (await store.get('b')) !== undefined);
  const { succeeded, revision } = await groups.write([absent('taken')], [put('taken', '3')]);
  assert.deepEqual([succeeded, revision], [false, (await store.status()).revision]);
});

test('a store that is too full for one takes the others; what is too large for a group goes alone', async (t) => {
  const large = 300_000;
  const { groups, transactions } = await groupsOver(t, ({ success }) =>
    success.some((one) => one.kind === 'put' && one.key === 'huge')
      ? new MeshError('SLV-3504', 'The store has no space left for this write.')
      : undefined,
  );
  const outcomes = await Promise.allSettled([
    groups.write([], [put('small')]),
    groups.write([], [put('huge')]),
    groups.write([], [put('one', 'x'.repeat(large))]),
    groups.write([], [put('two', 'x'.repeat(large))]),
  ]);
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value.succeeded : outcome.reason.code)),
    [true, 'SLV-3504', true, true],
  );
  assert.deepEqual(transactions.at(-1), ['two']);
});

test('a group that broke off has broken off for all of it, and is not tried again; the next one goes on', async (t) => {
  let reachable = false;
  const { groups, transactions } = await groupsOver(t, () =>
    reachable ? undefined : new MeshError('SLV-3505', 'It does not answer.'),
  );
  const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((key) => groups.write([], [put(key)])));
  for (const outcome of outcomes) assert.ok(outcome.status === 'rejected' && isMeshError(outcome.reason, 'SLV-3505'));
  assert.deepEqual(transactions, [['a', 'b', 'c']]);
  reachable = true;
  assert.equal((await groups.write([], [put('d')])).succeeded, true);
});

test('many writers of few keys by compare-and-swap: each increment counts once', async (t) => {
  const { groups, store, transactions } = await groupsOver(t);
  const keys = ['n/0', 'n/1', 'n/2'];
  const increment = async (key: string): Promise<void> => {
    for (;;) {
      const held = await store.get(key);
      const next = String(Number(Buffer.from(held?.value ?? []).toString() || 0) + 1);
      const compare: Compare =
        held === undefined ? absent(key) : { kind: 'mod-revision', key, equals: held.modRevision };
      if ((await groups.write([compare], [put(key, next)])).succeeded) return;
    }
  };
  const writer = async (lane: number): Promise<void> => {
    for (let at = 0; at < 10; at++) await increment(keys[(lane + at) % keys.length] ?? '');
  };
  await Promise.all(Array.from({ length: 12 }, (_, lane) => writer(lane)));
  const values = await Promise.all(keys.map(async (key) => Number(Buffer.from((await store.get(key))?.value ?? []))));
  assert.equal(
    values.reduce((sum, value) => sum + value, 0),
    120,
  );
  assert.ok(transactions.length > 40, 'they met');
});
