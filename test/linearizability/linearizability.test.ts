import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findEtcd } from '../etcd.ts';
import { dice } from '../fuzz/mutate.ts';
import { whyNoGo } from '../go-program.ts';
import { checkLinearizable } from './checker.ts';
import { flawsOfDefaultReads } from './default-reads.ts';
import { etcdFaults } from './etcd-faults.ts';
import { type DefaultRead, loadOf, nothing, type Operation, requireLoad } from './history.ts';
import { judge } from './judge.ts';
import { recordOnEtcd, recordOnSqlite } from './runs.ts';

/** What clients of the KV were told while things broke is what one register for each key could have said. The long version: linearizability.ts. */

const noGo = await whyNoGo();
const inCi = process.env['CI'] === 'true';
const skip = noGo !== undefined && !inCi ? noGo : false;
const etcd = await findEtcd();

/** Operations of a history in the order of their calls, `[from, to]` in microseconds. */
type Row = readonly [
  time: readonly [number, number],
  Pick<Operation, 'kind' | 'value' | 'expected'>,
  Operation['outcome']?,
];
const history = (rows: readonly Row[]): Operation[] =>
  rows.map(([[callUs, returnUs], step, outcome = 'done'], client) => ({
    ...step,
    client,
    key: 'k',
    callUs,
    returnUs,
    outcome,
  }));
const put = (value: string) => ({ kind: 'put', value }) as const;
const get = (value: string) => ({ kind: 'get', value }) as const;
const cas = (expected: string, value: string) => ({ kind: 'cas', expected, value }) as const;

const refused: Readonly<Record<string, readonly Row[]>> = {
  'a stale read': [
    [[0, 1], put('1')],
    [[2, 3], put('2')],
    [[4, 5], get('1')],
  ],
  'a lost update: two that changed the same': [
    [[0, 1], put('1')],
    [[2, 9], cas('1', '2')],
    [[3, 8], cas('1', '3')],
  ],
  'a lost write: acknowledged, and not there': [
    [[0, 1], put('1')],
    [[2, 3], get(nothing)],
  ],
  'a refusal without a reason': [
    [[0, 1], put('1')],
    [[2, 3], cas('1', '2'), 'refused'],
  ],
  'what was seen of an unknown write, and then not': [
    [[0, 1], put('1'), 'unknown'],
    [[2, 3], get('1')],
    [[4, 5], get(nothing)],
  ],
  'a write that was left out': [
    [[0, 1], put('on')],
    [[2, 3], put('off')],
    [[4, 5], put('on')],
    [[6, 7], get('off')],
  ],
};

const accepted: Readonly<Record<string, readonly Row[]>> = {
  'reads and a write at once': [
    [[0, 9], put('1')],
    [[1, 2], get(nothing)],
    [[3, 4], get('1')],
  ],
  'an unknown write that comes late': [
    [[0, 1], put('1'), 'unknown'],
    [[2, 3], put('2')],
    [[4, 5], get('2')],
    [[6, 7], get('1')],
  ],
  'an unknown write that never comes': [
    [[0, 1], cas(nothing, '1'), 'unknown'],
    [[2, 3], get(nothing)],
  ],
  'a change of what a delete left': [
    [[0, 1], put('1')],
    [[2, 3], { kind: 'delete', value: nothing }],
    [[4, 5], cas('1', '2'), 'refused'],
    [[6, 7], cas(nothing, '3')],
    [[8, 9], get('3')],
  ],
};

describe('the checker', { skip }, () => {
  for (const [name, rows] of Object.entries(refused))
    test(`refuses ${name}`, async () => {
      const { result, refusedKeys } = await checkLinearizable(history(rows));
      assert.deepEqual([result, refusedKeys], ['Illegal', ['k']]);
    });
  for (const [name, rows] of Object.entries(accepted))
    test(`accepts ${name}`, async () => {
      assert.equal((await checkLinearizable(history(rows))).result, 'Ok');
    });
  test('says which of many keys it is', async () => {
    const other = history(accepted['reads and a write at once'] ?? []).map((one) => ({ ...one, key: 'fine' }));
    const { result, refusedKeys, keys } = await checkLinearizable([
      ...other,
      ...history(refused['a stale read'] ?? []),
    ]);
    assert.deepEqual([result, refusedKeys, keys], ['Illegal', ['k'], 2]);
  });
  test('does not take what is no history for a good one', async () => {
    const unanswered = history([[[0, 1], get('1'), 'unknown']]);
    await assert.rejects(checkLinearizable(unanswered), /operation 1: a read that was not answered/);
  });
});

test('reads that may lag never go back', () => {
  const reads = (...rows: readonly (readonly [sentIndex: number, index: number, modifyIndex: number])[]) =>
    rows.map(
      ([sentIndex, index, modifyIndex]): DefaultRead => ({ session: 's', key: 'k', sentIndex, index, modifyIndex }),
    );
  assert.deepEqual(flawsOfDefaultReads(reads([0, 5, 5], [5, 5, 5], [5, 7, 0], [7, 9, 9])), []);
  for (const [bad, flaw] of [
    [reads([0, 5, 0], [0, 4, 0]), /index 4 after 5/],
    [reads([6, 5, 5]), /index 5, older than 6/],
    [reads([0, 7, 7], [0, 7, 6]), /entry of 6 after that of 7/],
    [reads([0, 5, 6]), /changed at 6/],
  ] as const)
    assert.match(flawsOfDefaultReads(bad).join(), flaw);
  const [other] = reads([0, 3, 3]);
  assert.deepEqual(
    flawsOfDefaultReads([...reads([0, 5, 5]), ...(other === undefined ? [] : [{ ...other, key: 'l' }])]),
    [],
  );
});

test('a run with too little load fails, whatever it found', async () => {
  const operations = history(accepted['a change of what a delete left'] ?? []);
  const minimum = { writes: 3, casDone: 1, casRefused: 1, consistentReads: 1, defaultReads: 0 };
  requireLoad(loadOf({ operations, defaultReads: [] }), minimum);
  await assert.rejects(
    judge('idle', { operations, defaultReads: [] }, { ...minimum, writes: 4, defaultReads: 1 }),
    /too little load to say anything: 3 writes, at least 4 are needed; 0 defaultReads, at least 1/,
  );
});

const minimum = { writes: 120, casDone: 30, casRefused: 3, consistentReads: 100, defaultReads: 50 };

test('two catalogs on etcd, whose members die, hang, are cut off and forget', {
  skip: skip || etcd.skip,
}, async (t) => {
  const seed = Date.now() % 1_000_000_007;
  const roll = dice(seed);
  const options = { random: () => roll(2 ** 30) / 2 ** 30, say: (words: string) => t.diagnostic(words) };
  const shortly = etcdFaults.filter(({ rare }) => !rare);
  t.diagnostic(await judge(`etcd-${seed}`, await recordOnEtcd(shortly, options), minimum));
});

test('a catalog on SQLite that is killed again and again', { skip }, async (t) => {
  const seed = Date.now() % 1_000_000_007;
  const roll = dice(seed);
  const options = { random: () => roll(2 ** 30) / 2 ** 30, say: () => undefined };
  t.diagnostic(await judge(`sqlite-${seed}`, await recordOnSqlite(3, options), minimum));
});
