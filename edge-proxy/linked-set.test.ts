import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Linked, LinkedSet } from './linked-set.ts';

class Member implements Linked<Member> {
  before: Member | undefined;
  after: Member | undefined;
  linkedIn: object | undefined;
}

test('whatever joins and leaves, it is what a Set is', () => {
  const step = fc.tuple(fc.constantFrom('add', 'delete'), fc.nat(9));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const members = Array.from({ length: 10 }, () => new Member());
      const ours = new LinkedSet<Member>();
      const theirs = new Set<Member>();
      for (const [what, at] of steps) {
        const member = members[at] as Member;
        ours[what as 'add' | 'delete'](member);
        theirs[what as 'add' | 'delete'](member);
        assert.deepEqual(ours.all().map(indexIn(members)), [...theirs].map(indexIn(members)));
        assert.equal(ours.size, theirs.size);
        assert.equal(ours.has(member), theirs.has(member));
      }
      ours.clear();
      assert.equal(ours.size, 0);
      for (const { before, after, linkedIn } of members)
        assert.deepEqual([before, after, linkedIn], [undefined, undefined, undefined]);
    }),
  );
});

test('a member is in one set at a time', () => {
  const member = new Member();
  new LinkedSet<Member>().add(member);
  const other = new LinkedSet<Member>();
  assert.throws(() => other.add(member), RangeError);
  other.delete(member);
  assert.notEqual(member.linkedIn, undefined);
});

const indexIn =
  (members: readonly Member[]) =>
  (member: Member): number =>
    members.indexOf(member);
