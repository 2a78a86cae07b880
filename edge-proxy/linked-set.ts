/** A member of a LinkedSet carries its place: who stands before and after it, and in which set. All three are the set's. */
export interface Linked<Member> {
  before: Member | undefined;
  after: Member | undefined;
  linkedIn: object | undefined;
}

/**
 * A set, in the order of joining, whose members are linked through themselves, each in one set at a time. For what comes and goes with each request: a Set allocates a
 * table whenever it grows or shrinks, and those that it leaves behind keep their members alive into the old generation.
 */
export class LinkedSet<Member extends Linked<Member>> {
  size = 0;
  #first: Member | undefined;
  #last: Member | undefined;

  /** One that is in it stays where it is. */
  add(member: Member): void {
    if (member.linkedIn === this) return;
    if (member.linkedIn !== undefined) throw new RangeError('a member of another set');
    member.linkedIn = this;
    member.before = this.#last;
    if (this.#last === undefined) this.#first = member;
    else this.#last.after = member;
    this.#last = member;
    this.size += 1;
  }

  has(member: Member): boolean {
    return member.linkedIn === this;
  }

  /** One that is not in it is left alone. */
  delete(member: Member): void {
    if (member.linkedIn !== this) return;
    const { before, after } = member;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    // Nothing that is dead may hold on to what lives.
    member.before = undefined;
    member.after = undefined;
    member.linkedIn = undefined;
    this.size -= 1;
  }

  /** Those that are in it now; it may change meanwhile. */
  all(): Member[] {
    const members: Member[] = [];
    for (let member = this.#first; member !== undefined; member = member.after) members.push(member);
    return members;
  }

  clear(): void {
    for (const member of this.all()) this.delete(member);
  }
}

/** A place in a LinkedSet for what carries none of its own, or has one elsewhere. */
export class Place<Of> implements Linked<Place<Of>> {
  before: Place<Of> | undefined;
  after: Place<Of> | undefined;
  linkedIn: object | undefined;
  readonly of: Of;

  constructor(of: Of) {
    this.of = of;
  }
}
