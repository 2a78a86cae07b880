import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { nextStep, type RotationFacts } from './next-step.ts';
import {
  heldAuthorities,
  prepare,
  type Rotation,
  type RotationTarget,
  replaceIssuing,
  taint,
  taintedAuthorities,
  take,
  trustedRoots,
  withIssuing,
} from './rotation.ts';
import { rotationSchema } from './rotation-record.ts';

const name = (letter: string): string => letter.repeat(64);
const active = { root: name('a'), issuing: name('b') };
const idle: Rotation = { state: 'idle', active };
const nextOf = (target: RotationTarget) =>
  target === 'root' ? { root: name('c'), issuing: name('d'), cross: 'AAAA' } : { ...active, issuing: name('d') };
const facts: RotationFacts = {
  nowMs: 1_000_000,
  earliestMs: 1_000_000,
  sightings: { kind: 'proxies', missing: [] },
  blindWaitMs: 180_000,
  deadlineMs: 600_000,
  holdouts: [],
  oldEndsAtMs: 0,
  settledSinceMs: undefined,
  settleMs: 60_000,
};
const published: Rotation = {
  state: 'published',
  target: 'root',
  startedAtMs: 0,
  active,
  next: nextOf('root'),
  publishedAtMs: 900_000,
};
const activated: Rotation = {
  state: 'activated',
  target: 'root',
  startedAtMs: 0,
  active: nextOf('root'),
  old: active,
  activatedAtMs: 900_000,
  tainted: true,
};

describe('what comes next in a rotation', () => {
  const unknown = { kind: 'unknown', reason: 'it is down' } as const;
  const missing = { kind: 'proxies', missing: ['vm-2/web'] } as const;
  const table: readonly [what: string, state: Rotation, facts: Partial<RotationFacts>, next: string][] = [
    ['nothing is under way', idle, {}, 'rest'],
    ['a root is prepared', prepare(idle, 'root', nextOf('root'), 0), {}, 'publish'],
    ['an issuing CA is prepared', prepare(idle, 'issuing', nextOf('issuing'), 0), {}, 'activate'],
    ['all have the bundle', published, {}, 'see'],
    ['one has it not', published, { sightings: missing }, 'wait for vm-2/web'],
    [
      'one has it not at the deadline',
      published,
      { sightings: missing, nowMs: 1_500_000 },
      'wait for vm-2/web, overdue',
    ],
    ['one has it not just before', published, { sightings: missing, nowMs: 1_499_999 }, 'wait for vm-2/web'],
    ['it came after the deadline', published, { nowMs: 9_000_000 }, 'see'],
    ['the catalog is down', published, { sightings: unknown }, 'wait'],
    ['the catalog is down for long', published, { sightings: unknown, nowMs: 9_000_000 }, 'wait, overdue'],
    ['no catalog, early', published, { sightings: { kind: 'by-time' } }, 'wait'],
    ['no catalog, late', published, { sightings: { kind: 'by-time' }, nowMs: 1_080_000 }, 'see'],
    [
      'no catalog, and the clock went back',
      published,
      { sightings: { kind: 'by-time' }, nowMs: 600_000, earliestMs: 420_000 },
      'see',
    ],
    ['the bundle was seen', take(published, 'see', 0), {}, 'activate'],
    ['the last old SVID has ended', activated, { oldEndsAtMs: 999_999 }, 'retire'],
    ['an old SVID is in use', activated, { oldEndsAtMs: 2_000_000, holdouts: ['web'] }, 'wait for web'],
    ['all renewed just now', activated, { oldEndsAtMs: 2_000_000, settledSinceMs: 999_000 }, 'wait'],
    ['all renewed long ago', activated, { oldEndsAtMs: 2_000_000, settledSinceMs: 940_000 }, 'retire'],
  ];
  for (const [what, state, change, expected] of table) {
    test(`${what}: ${expected}`, () => {
      const decision = nextStep(state, { ...facts, ...change });
      const said =
        decision.kind === 'rest'
          ? 'rest'
          : decision.kind === 'step'
            ? decision.step
            : `wait${decision.missing.map((one) => ` for ${one}`).join()}${decision.overdue ? ', overdue' : ''}`;
      assert.equal(said, expected);
    });
  }

  test('an operator who forces goes past what is waited for, and past nothing else', () => {
    const stuck: RotationFacts = { ...facts, sightings: missing, oldEndsAtMs: 2_000_000, holdouts: ['web'] };
    assert.deepEqual(nextStep(published, stuck, true), { kind: 'step', step: 'see' });
    assert.deepEqual(nextStep(activated, stuck, true), { kind: 'step', step: 'retire' });
    assert.deepEqual(nextStep(idle, stuck, true), { kind: 'rest' });
  });

  test('without a catalog it says which option is missing, and for how long it waits', () => {
    const decision = nextStep(published, { ...facts, sightings: { kind: 'by-time' } });
    assert.match(decision.kind === 'wait' ? decision.reason : '', /--catalog.*180 s/);
  });
});

describe('any course of a rotation', () => {
  const target = fc.constantFrom<RotationTarget>('root', 'issuing');
  const happenings = fc.array(fc.constantFrom('step', 'replace', 'taint', 'crash'), { maxLength: 20 });

  test('ends idle under the new pair, signs only under trusted roots, and never drops what was trusted a step ago while signing with it', () => {
    fc.assert(
      fc.property(target, happenings, (what, course) => {
        let rotation: Rotation = prepare(idle, what, nextOf(what), 0);
        for (const happening of [...course, ...Array.from({ length: 5 }, () => 'step')]) {
          const before = rotation;
          if (happening === 'crash') rotation = rotationSchema.parse(JSON.parse(JSON.stringify(rotation)));
          else if (happening === 'replace') rotation = replaceIssuing(rotation, name('e'));
          else if (happening === 'taint' && rotation.state === 'activated') rotation = taint(rotation);
          else if (happening === 'step') {
            const decision = nextStep(rotation, facts);
            if (decision.kind === 'step') rotation = take(rotation, decision.step, 0);
          }
          assert.ok(trustedRoots(rotation).includes(rotation.active.root));
          assert.ok(trustedRoots(before).includes(rotation.active.root), 'known before it is used');
          assert.ok(!taintedAuthorities(rotation).includes(rotation.active.issuing), 'nothing fresh is tainted');
          const held = heldAuthorities(rotation);
          for (const root of trustedRoots(rotation)) assert.ok(held.roots.includes(root));
          assert.ok(held.issuing.includes(rotation.active.issuing));
        }
        assert.equal(rotation.state, 'idle');
        assert.equal(rotation.active.root, nextOf(what).root);
      }),
    );
  });

  test('every issuing CA that signed under the old root is left behind, none that signs under the new one', () => {
    const twice = withIssuing(withIssuing(active, name('e')), name('f'));
    assert.deepEqual(twice, { ...active, issuing: name('f'), earlier: [name('e'), name('b')] });
    assert.equal(withIssuing(twice, name('f')), twice);
    assert.deepEqual(withIssuing(twice, name('e')).earlier, [name('f'), name('b')], 'each once');
    const root = { ...nextOf('root'), earlier: [name('9')] };
    const left: Rotation = {
      ...activated,
      old: { ...twice, earlier: [...(twice.earlier ?? []), name('9')] },
      active: root,
    };
    assert.deepEqual(taintedAuthorities(left), [name('a'), name('f'), name('e'), name('b')]);
    assert.deepEqual(rotationSchema.parse(JSON.parse(JSON.stringify(left))), left);
  });

  test('steps that a state does not have are faults', () => {
    for (const step of ['publish', 'see', 'activate', 'retire'] as const) assert.throws(() => take(idle, step, 0));
    assert.throws(() => take(prepare(idle, 'issuing', nextOf('issuing'), 0), 'publish', 0));
    assert.throws(() => take(prepare(idle, 'root', nextOf('root'), 0), 'activate', 0));
    assert.throws(() => prepare(published, 'root', nextOf('root'), 0));
    assert.throws(() => taint(idle));
  });
});
