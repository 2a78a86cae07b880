import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { modelProperty } from './conformance-model.ts';
import type { KeyValue, Operation, Store, WatchBatch } from './contract.ts';
import { maxKeyBytes, maxTransactionSteps, maxValueBytes } from './limits.ts';

/** A store under test, and the passing of time as its leases see it (a moved clock, or real waiting). */
export interface StoreUnderTest {
  readonly store: Store;
  passTime(ms: number): Promise<void>;
  /** Of the lease that is let expire: short where time really passes. */
  readonly leaseMs: number;
  /** How many histories are tried against the model. */
  readonly modelRuns: number;
}

const deadlineMs = 10_000;
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (kv: KeyValue | undefined) => kv && new TextDecoder().decode(kv.value);
const put = (key: string, value: string, lease?: string): Operation => ({
  kind: 'put',
  key,
  value: bytes(value),
  ...(lease === undefined ? {} : { lease }),
});
const code = (expected: string) => (error: unknown) => isMeshError(error) && error.code === expected;

/**
 * The promises of contract.ts, for any engine. Each case works under a prefix of its own on one store, so that an engine may be slow to open.
 *
 * @param open a fresh, empty store
 */
export function storeConformance(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`store conformance: ${name}`, () => {
    let under: StoreUnderTest;
    let store: Store;
    let cases = 0;
    const fresh = () => `case-${++cases}/`;
    before(async () => {
      under = await open();
      store = under.store;
    });
    after(() => store.close());

    /** The next `count` batches of a watch, or what it threw. */
    async function take(prefix: string, from: number, count: number): Promise<WatchBatch[]> {
      const got: WatchBatch[] = [];
      const signal = AbortSignal.timeout(deadlineMs);
      for await (const batch of store.watch(prefix, from, signal)) {
        got.push(batch);
        if (got.length === count) return got;
      }
      throw new Error(`the watch showed ${got.length} of ${count} batches in ${deadlineMs} ms`);
    }

    it('keeps revision, create revision and version of a key, and starts them afresh after a delete', async () => {
      const key = `${fresh()}a`;
      const first = await store.put(key, bytes('1'));
      const second = await store.put(key, bytes('2'));
      assert.equal(second, first + 1);
      assert.deepEqual(await store.get(key), {
        key,
        value: bytes('2'),
        createRevision: first,
        modRevision: second,
        version: 2,
      });
      assert.equal(await store.delete(key), true);
      assert.equal(await store.get(key), undefined);
      assert.equal(await store.delete(key), false);
      const again = await store.put(key, bytes('3'));
      const kv = await store.get(key);
      assert.deepEqual([kv?.createRevision, kv?.version], [again, 1]);
    });

    it('reads the past at a revision, deletes included', async () => {
      const prefix = fresh();
      const r1 = await store.put(`${prefix}a`, bytes('1'));
      const r2 = await store.put(`${prefix}b`, bytes('1'));
      await store.put(`${prefix}a`, bytes('2'));
      await store.delete(`${prefix}b`);
      assert.equal(text(await store.get(`${prefix}a`, { revision: r1 })), '1');
      assert.equal(await store.get(`${prefix}b`, { revision: r1 }), undefined);
      const past = await store.range(prefix, { revision: r2 });
      assert.deepEqual(
        past.kvs.map((kv) => [kv.key, text(kv), kv.modRevision]),
        [
          [`${prefix}a`, '1', r1],
          [`${prefix}b`, '1', r2],
        ],
      );
      assert.deepEqual((await store.range(prefix)).kvs.map(text), ['2']);
      await assert.rejects(
        store.get(`${prefix}a`, { revision: (await store.status()).revision + 1 }),
        code('SLV-3507'),
      );
    });

    it('orders a range by the bytes of the keys, and keeps to prefix and limit', async () => {
      const prefix = fresh();
      const keys = ['a', 'a/', 'a\u{1f600}', 'aZ', 'b', 'aé', 'a\uffff', 'a\ud7ff', 'a\u0000'].map((k) => prefix + k);
      for (const key of keys) await store.put(key, bytes(key));
      await store.put(`${prefix.slice(0, -1)}0`, bytes('beside'));
      const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(
        (await store.range(prefix)).kvs.map((kv) => kv.key),
        sorted,
      );
      assert.deepEqual(
        (await store.range(`${prefix}a`, { limit: 2 })).kvs.map((kv) => kv.key),
        sorted.filter((key) => key !== `${prefix}b`).slice(0, 2),
      );
      assert.deepEqual(
        (await store.range(`${prefix}a\ud7ff`)).kvs.map((kv) => kv.key),
        [`${prefix}a\ud7ff`],
      );
    });

    it('keeps values as they are: empty, binary, and not what the caller writes into its buffer later', async () => {
      const prefix = fresh();
      const buffer = Buffer.from([0, 255, 1]);
      const put = store.put(`${prefix}b`, buffer);
      buffer.fill(7);
      await put;
      await store.put(`${prefix}a`, new Uint8Array());
      const { kvs } = await store.range(prefix);
      assert.deepEqual(
        kvs.map((kv) => [...kv.value]),
        [[], [0, 255, 1]],
      );
    });

    it('decides a transaction by its compares and does one branch whole, in one revision', async () => {
      const prefix = fresh();
      const [a, b, c] = [`${prefix}a`, `${prefix}b`, `${prefix}c`];
      const made = await store.txn({
        compare: [{ kind: 'absent', key: a }],
        success: [put(a, '1'), put(b, '1')],
      });
      assert.equal(made.succeeded, true);
      assert.equal((await store.get(a))?.modRevision, made.revision);
      assert.equal((await store.get(b))?.modRevision, made.revision);
      for (const compare of [
        { kind: 'absent', key: a },
        { kind: 'present', key: c },
        { kind: 'mod-revision', key: a, equals: made.revision - 1 },
        { kind: 'value', key: a, equals: bytes('2') },
        { kind: 'value', key: c, equals: bytes('') },
      ] as const) {
        const lost = await store.txn({ compare: [{ kind: 'present', key: b }, compare], success: [put(c, 'x')] });
        assert.deepEqual(lost, { succeeded: false, revision: made.revision }, compare.kind);
      }
      const other = await store.txn({
        compare: [{ kind: 'value', key: a, equals: bytes('2') }],
        success: [put(c, 'yes')],
        failure: [put(c, 'no'), { kind: 'delete', key: a }],
      });
      assert.deepEqual(other, { succeeded: false, revision: made.revision + 1 });
      assert.equal(text(await store.get(c)), 'no');
      const won = await store.txn({
        compare: [
          { kind: 'mod-revision', key: c, equals: other.revision },
          { kind: 'mod-revision', key: a, equals: 0 },
          { kind: 'value', key: b, equals: bytes('1') },
        ],
        success: [{ kind: 'delete-prefix', prefix }],
      });
      assert.deepEqual(won, { succeeded: true, revision: other.revision + 1 });
      assert.deepEqual((await store.range(prefix)).kvs, []);
    });

    it('spends no revision on a transaction that writes nothing', async () => {
      const prefix = fresh();
      const { revision } = await store.status();
      const nothing = await store.txn({
        compare: [],
        success: [
          { kind: 'delete', key: `${prefix}a` },
          { kind: 'delete-prefix', prefix },
        ],
      });
      assert.deepEqual(nothing, { succeeded: true, revision });
    });

    it('lets exactly one of many concurrent compare-and-swaps win each round, and one that fails harms no other', async () => {
      const key = `${fresh()}counter`;
      await store.put(key, bytes('0'));
      for (let round = 0; round < 5; round++) {
        const at = await store.get(key);
        const attempts = await Promise.allSettled([
          ...Array.from({ length: 20 }, (_, i) =>
            store.txn({
              compare: [{ kind: 'mod-revision', key, equals: at?.modRevision ?? 0 }],
              success: [put(key, `${round}.${i}`)],
            }),
          ),
          store.put(`${key}-leased`, bytes('x'), { lease: 'no-such-lease' }),
          store.put(`${key}-plain`, bytes('x')),
        ]);
        const refused = attempts.filter((a) => a.status === 'rejected');
        assert.equal(refused.length, 1);
        assert.ok(code('SLV-3503')(refused[0]?.reason));
        const wins = attempts.filter(
          (a) => a.status === 'fulfilled' && typeof a.value === 'object' && a.value.succeeded,
        );
        assert.equal(wins.length, 1);
        assert.equal((await store.get(key))?.version, round + 2);
      }
    });

    it('gives each of many concurrent writes its own revision, without a hole', async () => {
      const prefix = fresh();
      const revisions = await Promise.all(
        Array.from({ length: 200 }, (_, i) => store.put(`${prefix}${i}`, bytes('x'))),
      );
      const sorted = [...revisions].sort((a, b) => a - b);
      assert.deepEqual(
        sorted,
        Array.from({ length: 200 }, (_, i) => (sorted[0] ?? 0) + i),
      );
    });

    it('watches from the past through to the present: no gap, no repeat, only the prefix, in order of the transaction', async () => {
      const prefix = fresh();
      const first = await store.put(`${prefix}a`, bytes('0'));
      for (let i = 1; i < 30; i++) await store.put(`${prefix}a`, bytes(`${i}`));
      const watching = take(prefix, first, 102);
      const writes = Array.from({ length: 70 }, (_, i) => store.put(`${prefix}a`, bytes(`${30 + i}`)));
      void store.put(`beside-${prefix}`, bytes('not watched'));
      // Writes that run at once have no order but the one that their revisions tell.
      const revisions = await Promise.all(writes);
      const order = revisions.map((revision, i) => ({ revision, value: `${30 + i}` }));
      order.sort((a, b) => a.revision - b.revision);
      await store.delete(`${prefix}a`);
      await store.txn({
        compare: [],
        success: [put(`${prefix}z`, '1'), put(`${prefix}b`, '2'), put(`x-${prefix}`, '3')],
      });
      const got = await watching;
      const values = got.flatMap((batch) => batch.events.map((e) => (e.kind === 'put' ? text(e.kv) : `-${e.key}`)));
      const first30 = Array.from({ length: 30 }, (_, i) => `${i}`);
      assert.deepEqual(values, [...first30, ...order.map(({ value }) => value), `-${prefix}a`, '1', '2']);
      for (const [i, batch] of got.entries()) {
        assert.ok(i === 0 || batch.revision > (got[i - 1]?.revision ?? 0));
        for (const event of batch.events) {
          assert.equal(event.kind === 'put' ? event.kv.modRevision : event.modRevision, batch.revision);
        }
      }
    });

    it('watches from a revision that is still to come', async () => {
      const prefix = fresh();
      const { revision } = await store.status();
      const watching = take(prefix, revision + 2, 1);
      await store.put(`${prefix}a`, bytes('early'));
      await store.put(`${prefix}a`, bytes('awaited'));
      assert.deepEqual(
        (await watching).map((b) => b.revision),
        [revision + 2],
      );
    });

    it('ends a watch when its signal aborts, before and while it waits', async () => {
      const prefix = fresh();
      const { revision } = await store.status();
      for (const signal of [AbortSignal.abort(), AbortSignal.timeout(20)]) {
        for await (const _ of store.watch(prefix, revision + 1, signal)) assert.fail('nothing was written');
      }
    });

    it('deletes the keys of an expired lease in one revision, which is watched, and refuses its keep-alive', async () => {
      const prefix = fresh();
      const { leaseMs } = under;
      const lease = await store.grantLease(leaseMs);
      assert.equal(lease.ttlMs, leaseMs);
      const { revision } = await store.txn({
        compare: [],
        success: [put(`${prefix}a`, '1', lease.id), put(`${prefix}b`, '2', lease.id), put(`${prefix}c`, '3', lease.id)],
      });
      assert.equal((await store.get(`${prefix}a`))?.lease, lease.id);
      const unleased = await store.put(`${prefix}c`, bytes('stays'));
      await under.passTime(leaseMs * 0.6);
      await store.keepAliveLease(lease.id);
      await under.passTime(leaseMs * 0.6);
      assert.equal((await store.range(prefix)).kvs.length, 3);
      await under.passTime(leaseMs * 0.5);
      const [, , expiry] = await take(prefix, revision, 3);
      assert.deepEqual(expiry, {
        revision: unleased + 1,
        events: [
          { kind: 'delete', key: `${prefix}a`, modRevision: unleased + 1 },
          { kind: 'delete', key: `${prefix}b`, modRevision: unleased + 1 },
        ],
      });
      await assert.rejects(store.keepAliveLease(lease.id), code('SLV-3503'));
      await assert.rejects(store.put(`${prefix}d`, bytes('x'), { lease: lease.id }), code('SLV-3503'));
    });

    it('revokes a lease at once, and knows no lease that it did not grant', async () => {
      const prefix = fresh();
      const [lease, other] = [await store.grantLease(60_000), await store.grantLease(60_000)];
      assert.notEqual(lease.id, other.id);
      await store.put(`${prefix}a`, bytes('1'), { lease: lease.id });
      await store.put(`${prefix}b`, bytes('1'), { lease: lease.id });
      await store.put(`${prefix}b`, bytes('2'), { lease: other.id });
      await store.revokeLease(lease.id);
      assert.deepEqual(
        (await store.range(prefix)).kvs.map((kv) => kv.key),
        [`${prefix}b`],
      );
      await store.revokeLease(lease.id);
      await assert.rejects(store.keepAliveLease(lease.id), code('SLV-3503'));
      await assert.rejects(store.keepAliveLease('no-such-lease'), code('SLV-3503'));
      await store.revokeLease(other.id);
    });

    it('compacts: the past is gone, the boundary and the present stay, a watch that is too old is told so', async () => {
      const prefix = fresh();
      const r1 = await store.put(`${prefix}a`, bytes('1'));
      await store.put(`${prefix}gone`, bytes('1'));
      await store.delete(`${prefix}gone`);
      const r4 = await store.put(`${prefix}a`, bytes('2'));
      const r5 = await store.put(`${prefix}a`, bytes('3'));
      await store.compact(r4);
      assert.equal((await store.status()).compactRevision, r4);
      await assert.rejects(store.get(`${prefix}a`, { revision: r1 }), code('SLV-3502'));
      await assert.rejects(store.range(prefix, { revision: r4 - 1 }), code('SLV-3502'));
      await store.compact(r1);
      assert.equal((await store.status()).compactRevision, r4);
      assert.equal(text(await store.get(`${prefix}a`, { revision: r4 })), '2');
      assert.deepEqual((await store.range(prefix, { revision: r4 })).kvs.map(text), ['2']);
      assert.deepEqual(
        (await take(prefix, r4, 2)).map((b) => b.revision),
        [r4, r5],
      );
      await assert.rejects(take(prefix, r1, 1), code('SLV-3502'));
      await assert.rejects(store.compact(r5 + 1), code('SLV-3507'));
      await store.compact(r5);
      assert.equal(text(await store.get(`${prefix}a`)), '3');
      assert.equal((await store.get(`${prefix}a`))?.version, 3);
    });

    it('holds the limits: keys, values, steps, one write of a key per branch', async () => {
      const prefix = fresh();
      const longest = prefix + 'k'.repeat(maxKeyBytes - prefix.length);
      await store.put(longest, new Uint8Array(maxValueBytes));
      assert.equal((await store.get(longest))?.value.byteLength, maxValueBytes);
      await assert.rejects(store.put(`${longest}k`, bytes('')), code('SLV-3506'));
      await assert.rejects(store.put('é'.repeat(maxKeyBytes / 2 + 1), bytes('')), code('SLV-3506'));
      await assert.rejects(store.put('', bytes('')), code('SLV-3506'));
      await assert.rejects(store.put(prefix, new Uint8Array(maxValueBytes + 1)), code('SLV-3506'));
      await assert.rejects(store.put('\ud800', bytes('')), code('SLV-3507'));
      const key = `${prefix}a`;
      for (const success of [
        [put(key, '1'), put(key, '2')],
        [put(key, '1'), { kind: 'delete', key } as const],
        [{ kind: 'delete-prefix', prefix } as const, put(key, '1')],
        Array.from({ length: maxTransactionSteps + 1 }, (_, i) => put(`${prefix}${i}`, '')),
      ]) {
        await assert.rejects(store.txn({ compare: [], success }), code('SLV-3507'));
      }
      assert.equal((await store.range(key)).kvs.length, 0);
      await assert.rejects(store.grantLease(0), code('SLV-3507'));
      await assert.rejects(store.get(key, { revision: 0 }), code('SLV-3507'));
      await assert.rejects(store.range(key, { limit: 0 }), code('SLV-3507'));
    });

    it('agrees with a model of itself, whatever is asked', async () => {
      await modelProperty(() => store, fresh, under.modelRuns);
    });

    it('is closed after close: every call and every watch says so', async () => {
      const { store: closing } = await open();
      await closing.put('a', bytes('1'));
      const { revision } = await closing.status();
      const later = closing.watch('', revision + 1_000, AbortSignal.timeout(deadlineMs));
      const watch = later[Symbol.asyncIterator]();
      const watching = watch.next();
      watching.catch(() => undefined); // it may be told before the close is done
      const last = closing.put('a', bytes('2'));
      await closing.close();
      assert.ok((await last) > 1);
      for (const call of [
        watching,
        closing.put('a', bytes('3')),
        closing.get('a'),
        closing.range(''),
        closing.status(),
        closing.grantLease(1000),
        closing.keepAliveLease('lease-1'),
        closing.compact(1),
      ]) {
        await assert.rejects(call, code('SLV-3501'));
      }
      await closing.close();
    });
  });
}
