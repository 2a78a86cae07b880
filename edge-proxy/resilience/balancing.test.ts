import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { defaultResiliencePolicy, type OutlierPolicy } from '#policies/resilience.ts';
import { type BalancedEndpoint, Balancer } from './balancer.ts';
import { keyHash } from './key-hash.ts';
import { OutlierDetector } from './outlier.ts';

type Status = BalancedEndpoint['status'];
const endpoint = (id: string, status: Status = 'passing', inFlight = 0, weight = 1) => ({
  id,
  status,
  inFlight,
  weight,
});
const never = () => false;
const kinds = ['round-robin', 'least-request', 'random', 'ring-hash', 'maglev'] as const;

/** A small generator with a seed (mulberry32), so that counts can be asserted. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function counts<E extends BalancedEndpoint>(balancer: Balancer<E>, picks: number): Record<string, number> {
  const count: Record<string, number> = {};
  for (let pick = 0; pick < picks; pick++) {
    const id = balancer.pick()?.id ?? 'none';
    count[id] = (count[id] ?? 0) + 1;
  }
  return count;
}

describe('Balancer', () => {
  it('takes turns', () => {
    const balancer = new Balancer({ policy: 'round-robin' }, seeded(1), never);
    balancer.setEndpoints([endpoint('a'), endpoint('b'), endpoint('c')]);
    assert.deepEqual(counts(balancer, 300), { a: 100, b: 100, c: 100 });
    const three = new Set([balancer.pick()?.id, balancer.pick()?.id, balancer.pick()?.id]);
    assert.equal(three.size, 3);
  });

  it('takes turns by weight', () => {
    const balancer = new Balancer({ policy: 'round-robin' }, seeded(2), never);
    balancer.setEndpoints([endpoint('a', 'passing', 0, 3), endpoint('b'), endpoint('c', 'passing', 0, 0)]);
    assert.deepEqual(counts(balancer, 500), { a: 300, b: 100, c: 100 });
  });

  it('panics below its threshold, one step after the other', () => {
    const ejected = new Set<string>();
    const balancer = new Balancer({ policy: 'round-robin' }, seeded(3), (id) => ejected.has(id));
    balancer.setEndpoints([endpoint('a'), endpoint('b'), endpoint('c'), endpoint('d', 'critical')]);
    balancer.update({ policy: 'round-robin' }, 0.5);
    const called = () => Object.keys(counts(balancer, 40)).sort().join('');
    assert.equal(called(), 'abc');
    ejected.add('a');
    assert.equal(called(), 'bc', 'two of four are half');
    ejected.add('b');
    assert.equal(called(), 'abc', 'one is not: those ejected are called again');
    balancer.update({ policy: 'round-robin' }, 0.9);
    assert.equal(called(), 'abcd');
    balancer.update({ policy: 'round-robin' });
    assert.equal(called(), 'c');
    assert.equal(balancer.healthy, true);
  });

  it('chooses by weight at random', () => {
    const balancer = new Balancer({ policy: 'random' }, seeded(9), never);
    balancer.setEndpoints([endpoint('a', 'passing', 0, 3), endpoint('b')]);
    const { a = 0, b = 0 } = counts(balancer, 4_000);
    assert.ok(Math.abs(a - 3_000) < 120, `${a} and ${b}`);
  });

  it('takes the least busy of as many as it is told', () => {
    const balancer = new Balancer({ policy: 'least-request', choices: 50 }, seeded(9), never);
    balancer.setEndpoints(Array.from({ length: 10 }, (_, at) => endpoint(String(at), 'passing', at === 7 ? 0 : 5)));
    assert.deepEqual(counts(balancer, 100), { 7: 100 });
  });

  for (const policy of ['ring-hash', 'maglev'] as const) {
    it(`${policy}: keys are spread by weight, stay where they are, and only those of one that goes move`, () => {
      const balancer = new Balancer({ policy }, seeded(5), never);
      const all = [endpoint('a'), endpoint('b'), endpoint('c'), endpoint('d', 'passing', 0, 2)];
      balancer.setEndpoints(all);
      const keys = Array.from({ length: 2_000 }, (_, at) => keyHash(`user-${at}`));
      const places = () => keys.map((key) => balancer.pick(undefined, key)?.id ?? 'none');
      const before = places();
      const of = (id: string) => before.filter((place) => place === id).length;
      for (const id of ['a', 'b', 'c']) assert.ok(of(id) > 250 && of(id) < 560, `${id}: ${of(id)}`);
      assert.ok(of('d') > 600 && of('d') < 1_000, `d: ${of('d')}`);
      const other = new Balancer({ policy }, seeded(77), never);
      other.setEndpoints(all);
      assert.deepEqual(
        keys.map((key) => other.pick(undefined, key)?.id),
        before,
        'the same in every proxy',
      );
      const [, , third] = all;
      const without = keys.map((key) => balancer.pick(third === undefined ? [] : [third], key)?.id);
      assert.ok(without.every((place, at) => (before[at] === 'c' ? place !== 'c' : place === before[at])));
      balancer.setEndpoints(all.filter(({ id }) => id !== 'c'));
      const moved = places().filter((place, at) => before[at] !== 'c' && place !== before[at]).length;
      assert.ok(policy === 'ring-hash' ? moved === 0 : moved < 200, `${moved} moved`);
    });
  }

  it('begins anywhere', () => {
    const firsts = Array.from({ length: 100 }, (_, seed) => {
      const balancer = new Balancer({ policy: 'round-robin' }, seeded(seed), never);
      balancer.setEndpoints([endpoint('a'), endpoint('b'), endpoint('c')]);
      return balancer.pick()?.id;
    });
    for (const id of ['a', 'b', 'c']) assert.ok(firsts.filter((first) => first === id).length > 15, id);
  });

  it('prefers the less busy of two, for its weight', () => {
    const balancer = new Balancer({ policy: 'least-request' }, seeded(3), never);
    balancer.setEndpoints([endpoint('busy', 'passing', 50), endpoint('a', 'passing', 1), endpoint('b', 'passing', 1)]);
    const { busy = 0, a = 0, b = 0 } = counts(balancer, 3_000);
    assert.equal(busy, 0);
    assert.ok(Math.abs(a - b) < 300, `${a} ${b}`);
    balancer.setEndpoints([endpoint('large', 'passing', 10, 10), endpoint('small', 'passing', 5)]);
    assert.deepEqual(counts(balancer, 10), { large: 10 });
  });

  it('leaves out what is critical or ejected, and panics when all are', () => {
    for (const kind of kinds) {
      const ejected = new Set(['b']);
      const balancer = new Balancer({ policy: kind }, seeded(4), (id) => ejected.has(id));
      balancer.setEndpoints([endpoint('a'), endpoint('b'), endpoint('c', 'critical'), endpoint('d', 'warning')]);
      assert.deepEqual(Object.keys(counts(balancer, 100)).sort(), ['a', 'd']);
      assert.equal(balancer.panicking, false);
      for (const id of ['a', 'd']) ejected.add(id);
      assert.equal(balancer.panicking, true);
      assert.deepEqual(Object.keys(counts(balancer, 100)).sort(), ['a', 'b', 'd']);
      balancer.setEndpoints([endpoint('a', 'critical'), endpoint('b', 'critical')]);
      assert.deepEqual(Object.keys(counts(balancer, 100)).sort(), ['a', 'b']);
      balancer.setEndpoints([]);
      assert.deepEqual([balancer.pick(), balancer.panicking], [undefined, false]);
    }
  });

  const statuses = fc.constantFrom<Status>('passing', 'warning', 'critical');
  const cases = fc.record({
    endpoints: fc.uniqueArray(
      fc.record({
        id: fc.string({ minLength: 1, maxLength: 3 }),
        status: statuses,
        inFlight: fc.nat(9),
        weight: fc.nat(4),
        ejected: fc.boolean(),
        excluded: fc.boolean(),
      }),
      { selector: ({ id }) => id, maxLength: 8 },
    ),
    kind: fc.constantFrom(...kinds),
    seed: fc.integer(),
    picks: fc.integer({ min: 1, max: 20 }),
  });

  it('never picks a critical one while another is there, nor an excluded one, and picks one whenever it may', () => {
    fc.assert(
      fc.property(cases, ({ endpoints, kind, seed, picks }) => {
        const balancer = new Balancer<(typeof endpoints)[number]>({ policy: kind }, seeded(seed), (id) =>
          endpoints.some((one) => one.id === id && one.ejected),
        );
        balancer.setEndpoints(endpoints);
        const excluded = endpoints.filter((one) => one.excluded);
        const up = endpoints.filter(({ status }) => status !== 'critical');
        const healthy = up.filter(({ ejected }) => !ejected);
        const candidates = healthy.length > 0 ? healthy : up.length > 0 ? up : endpoints;
        for (let pick = 0; pick < picks; pick++) {
          const picked = balancer.pick(excluded);
          if (picked === undefined) assert.ok(candidates.every((one) => one.excluded));
          else assert.ok(candidates.includes(picked) && !picked.excluded);
        }
      }),
    );
  });
});

describe('OutlierDetector', () => {
  const policy: OutlierPolicy = {
    ...defaultResiliencePolicy.outlier,
    consecutiveFailures: 2,
    baseEjectionMs: 100,
    maxEjectionMs: 250,
  };
  const fail = (detector: OutlierDetector, id: string, times = 2) => {
    for (let time = 0; time < times; time++) detector.note(id, false);
  };

  it('ejects after failures in a row, for longer each time, and forgets', () => {
    let now = 1_000;
    const detector = new OutlierDetector(policy, () => now);
    detector.setEndpoints(['a', 'b']);
    fail(detector, 'a', 1);
    detector.note('a', true);
    fail(detector, 'a', 1);
    assert.equal(detector.isEjected('a'), false);
    fail(detector, 'a', 1);
    const lengths: number[] = [];
    for (let round = 0; round < 3; round++) {
      const [out] = detector.snapshot();
      assert.equal(detector.isEjected('a'), true);
      lengths.push((out?.ejectedUntilMs ?? 0) - now);
      now = out?.ejectedUntilMs ?? 0;
      assert.equal(detector.isEjected('a'), false);
      fail(detector, 'a');
    }
    assert.deepEqual(lengths, [100, 200, 250]);
    now += 10_000;
    fail(detector, 'a');
    assert.equal((detector.snapshot()[0]?.ejectedUntilMs ?? 0) - now, 100);
  });

  it('never ejects the only one', () => {
    const detector = new OutlierDetector({ ...policy, maxEjectedRatio: 1 }, () => 0);
    detector.setEndpoints(['a']);
    fail(detector, 'a', 10);
    assert.equal(detector.isEjected('a'), false);
    detector.setEndpoints(['a', 'b']);
    fail(detector, 'a');
    fail(detector, 'b');
    assert.deepEqual([detector.isEjected('a'), detector.isEjected('b')], [true, false]);
    detector.note('gone', false);
  });

  it('takes a new policy at once', () => {
    const detector = new OutlierDetector(policy, () => 0);
    detector.setEndpoints(['a', 'b', 'c', 'd']);
    fail(detector, 'a');
    fail(detector, 'b');
    assert.equal(detector.snapshot().length, 2);
    detector.update({ ...policy, maxEjectedRatio: 0.25 });
    assert.equal(detector.snapshot().length, 1);
    detector.update({ ...policy, enabled: false });
    assert.equal(detector.snapshot().length, 0);
    fail(detector, 'a');
    assert.equal(detector.isEjected('a'), false);
  });

  it('never ejects beyond the cap', () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constant('note' as const),
        at: fc.nat(9),
        times: fc.integer({ min: 1, max: 4 }),
        success: fc.boolean(),
      }),
      fc.record({ do: fc.constant('wait' as const), ms: fc.nat(400) }),
      fc.record({ do: fc.constant('endpoints' as const), count: fc.nat(10) }),
      fc.record({ do: fc.constant('ratio' as const), ratio: fc.double({ min: 0, max: 1, noNaN: true }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        let now = 0;
        let count = 4;
        let ratio = policy.maxEjectedRatio;
        const detector = new OutlierDetector(policy, () => now);
        const ids = () => Array.from({ length: count }, (_, index) => `e${index}`);
        detector.setEndpoints(ids());
        for (const next of steps) {
          if (next.do === 'wait') now += next.ms;
          else if (next.do === 'note')
            for (let time = 0; time < next.times; time++) detector.note(`e${next.at}`, next.success);
          else if (next.do === 'endpoints') {
            count = next.count;
            detector.setEndpoints(ids());
          } else {
            ratio = next.ratio;
            detector.update({ ...policy, maxEjectedRatio: ratio });
          }
          const out = ids().filter((id) => detector.isEjected(id)).length;
          assert.ok(out <= Math.floor(ratio * count) && (count === 0 || out < count), `${out} of ${count} at ${ratio}`);
        }
      }),
      { numRuns: 300 },
    );
  });
});
