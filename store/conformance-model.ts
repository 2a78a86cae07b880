import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { Compare, KeyValue, Operation, Store, WatchBatch, WatchEvent } from './contract.ts';

/**
 * The contract said a second time, as simply as possible: every revision's whole state is kept. Revisions are relative to the store's at the
 * model's start, so that it runs on a store that others have used.
 */
class Model {
  readonly base: number;
  readonly states: ReadonlyMap<string, KeyValue>[] = [new Map()];
  readonly batches: WatchBatch[] = [];
  compacted = 0;

  constructor(base: number) {
    this.base = base;
  }

  get revision(): number {
    return this.base + this.states.length - 1;
  }

  at(revision: number): ReadonlyMap<string, KeyValue> {
    return this.states[revision - this.base] ?? new Map();
  }

  holds(compare: Compare): boolean {
    const kv = this.at(this.revision).get(compare.key);
    switch (compare.kind) {
      case 'absent':
        return kv === undefined;
      case 'present':
        return kv !== undefined;
      case 'mod-revision':
        return (kv?.modRevision ?? 0) === compare.equals;
      case 'value':
        return kv !== undefined && Buffer.from(kv.value).equals(compare.equals);
    }
  }

  write(operations: readonly Operation[]): void {
    const state = new Map(this.at(this.revision));
    const revision = this.revision + 1;
    const events: WatchEvent[] = [];
    const remove = (key: string) => {
      if (state.delete(key)) events.push({ kind: 'delete', key, modRevision: revision });
    };
    for (const operation of operations) {
      if (operation.kind === 'put') {
        const { key, value } = operation;
        const old = state.get(key);
        const createRevision = old?.createRevision ?? revision;
        const kv = { key, value, createRevision, modRevision: revision, version: (old?.version ?? 0) + 1 };
        state.set(key, kv);
        events.push({ kind: 'put', kv });
      } else if (operation.kind === 'delete') remove(operation.key);
      else for (const kv of sorted(state, operation.prefix)) remove(kv.key);
    }
    if (events.length === 0) return;
    this.states.push(state);
    this.batches.push({ revision, events });
  }
}

type Step =
  | {
      readonly kind: 'txn';
      readonly compare: readonly Compare[];
      readonly success: Operation[];
      readonly failure: Operation[];
    }
  | {
      readonly kind: 'read';
      readonly prefix: string;
      readonly back: number;
      readonly limit: number;
      readonly after: string | undefined;
    }
  | { readonly kind: 'watch'; readonly prefix: string; readonly back: number }
  | { readonly kind: 'compact'; readonly back: number };

const name = fc.constantFrom('a', 'b', 'ba', 'bb', 'b\u{10ffff}', 'c');
const namePrefix = fc.constantFrom('', 'a', 'b', 'bb', 'b\u{10ffff}');
const value = fc.uint8Array({ maxLength: 3 });
const back = fc.nat({ max: 6 });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('put'), key: name, value }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete'), key: name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete-prefix'), prefix: namePrefix }) },
);
const branch = fc.array(operation, { maxLength: 4 }).map(withoutConflicts);
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({ kind: fc.constant('absent'), key: name }),
  fc.record({ kind: fc.constant('present'), key: name }),
  fc.record({ kind: fc.constant('mod-revision'), key: name, equals: back }),
  fc.record({ kind: fc.constant('value'), key: name, equals: value }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('txn'),
      compare: fc.array(compare, { maxLength: 2 }),
      success: branch,
      failure: branch,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('read'),
      prefix: namePrefix,
      back,
      limit: fc.integer({ min: 1, max: 8 }),
      after: fc.option(name, { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('watch'), prefix: namePrefix, back }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('compact'), back }) },
);

/** Random sequences of requests: the store and the model must give the same answers, and at the end the same history. */
export async function modelProperty(store: () => Store, freshPrefix: () => string, numRuns: number): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const model = new Model((await store().status()).revision);
      const under = freshPrefix();
      for (const each of steps) await check(store(), model, under, each);
      await check(store(), model, under, {
        kind: 'watch',
        prefix: '',
        back: model.revision - Math.max(model.base, model.compacted),
      });
      await store().txn({ compare: [], success: [{ kind: 'delete-prefix', prefix: under }] });
    }),
    { numRuns },
  );
}

async function check(store: Store, model: Model, under: string, step: Step): Promise<void> {
  const oldest = Math.max(model.base, model.compacted);
  const past = (steps: number) => Math.max(model.revision - steps, model.base);
  switch (step.kind) {
    case 'txn': {
      // mod-revision is drawn as a distance from now, so that it sometimes holds.
      const compares = step.compare.map((c): Compare => {
        const moved = { ...c, key: under + c.key };
        return moved.kind === 'mod-revision' ? { ...moved, equals: past(moved.equals) } : moved;
      });
      const [success, failure] = [step.success, step.failure].map((b) => b.map((o) => moveUnder(o, under)));
      const succeeded = compares.every((c) => model.holds(c));
      model.write((succeeded ? success : failure) ?? []);
      const result = await store.txn({ compare: compares, success: success ?? [], failure: failure ?? [] });
      assert.deepEqual(result, { succeeded, revision: model.revision });
      return;
    }
    case 'read': {
      const revision = past(step.back);
      const after = step.after === undefined ? undefined : under + step.after;
      const { prefix, limit } = step;
      const reading = store.range(under + prefix, { revision, limit, ...(after === undefined ? {} : { after }) });
      if (revision < oldest) return assertCompacted(reading);
      const expected = sorted(model.at(revision), under + prefix)
        .filter(({ key }) => after === undefined || Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0)
        .slice(0, limit);
      assert.deepEqual(await reading, { kvs: expected, revision: model.revision });
      for (const kv of expected) assert.deepEqual(await store.get(kv.key, { revision }), kv);
      return;
    }
    case 'watch': {
      const from = past(step.back);
      if (from < oldest) return assertCompacted(watched(store, under + step.prefix, from, 1));
      const expected = model.batches.flatMap((batch) => {
        const events = batch.events.filter((e) =>
          (e.kind === 'put' ? e.kv.key : e.key).startsWith(under + step.prefix),
        );
        return batch.revision >= from && events.length > 0 ? [{ revision: batch.revision, events }] : [];
      });
      assert.deepEqual(await watched(store, under + step.prefix, from, expected.length), expected);
      return;
    }
    case 'compact':
      model.compacted = Math.max(model.compacted, past(step.back));
      await store.compact(past(step.back));
      return;
  }
}

async function watched(store: Store, prefix: string, from: number, count: number): Promise<WatchBatch[]> {
  const got: WatchBatch[] = [];
  if (count === 0) return got;
  for await (const batch of store.watch(prefix, from, AbortSignal.timeout(5000))) {
    got.push(batch);
    if (got.length === count) break;
  }
  return got;
}

async function assertCompacted(reading: Promise<unknown>): Promise<void> {
  await assert.rejects(reading, (error) => isMeshError(error, 'SLV-3502'));
}

function sorted(state: ReadonlyMap<string, KeyValue>, prefix: string): KeyValue[] {
  return [...state.values()]
    .filter((kv) => kv.key.startsWith(prefix))
    .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
}

function moveUnder(operation: Operation, prefix: string): Operation {
  return operation.kind === 'delete-prefix'
    ? { ...operation, prefix: prefix + operation.prefix }
    : { ...operation, key: prefix + operation.key };
}

/** Keeps of each branch what the contract allows: a put goes when its key is written by another operation too. */
function withoutConflicts(operations: Operation[]): Operation[] {
  return operations.filter(
    (put, position) =>
      put.kind !== 'put' || !operations.some((other, place) => place !== position && writes(other, put.key)),
  );
}

function writes(operation: Operation, key: string): boolean {
  return operation.kind === 'delete-prefix' ? key.startsWith(operation.prefix) : operation.key === key;
}
