/**
 * The rotation of a CA as a state machine (blueprint section 6): states as a union, transitions as functions, nothing else. What is true of the world is
 * asked in next-step.ts, what is done about it in rotation-driver.ts, and where a state is kept is the backend's business: each is written down, synced,
 * before anything acts on it, so a crash at any moment continues where it was.
 *
 * idle → prepared → published → seen → activated → idle. Peers get an issuing CA along with the leaf, so its rotation needs no publishing:
 * idle → prepared → activated → idle.
 */

/** An authority's name: lower-case hex SHA-256 of its SubjectPublicKeyInfo, as in a pin. */
export type AuthorityId = string;

/** What is being replaced. A new root always comes with a new issuing CA under it. */
export type RotationTarget = 'issuing' | 'root';

/** A root and the issuing CA under it that signs leaves. */
export interface AuthorityPair {
  readonly root: AuthorityId;
  readonly issuing: AuthorityId;
  /** The root certified by its predecessor, DER in base64: by it, who slept through a rotation believes the new root. */
  readonly cross?: string | undefined;
  /** Issuing CAs before `issuing` under the same root, under which certificates may still live: a CA elsewhere replaces its own without asking. */
  readonly earlier?: readonly AuthorityId[] | undefined;
}

/** A week of issuing CAs that live for an hour and are renewed at a third of it; who is further back has long ended. */
const maxEarlier = 512;

interface UnderWay {
  readonly target: RotationTarget;
  readonly startedAtMs: number;
  readonly active: AuthorityPair;
  /** The key of the root that goes may be known to others: nothing it has signed, or had signed, may lead to the new one. */
  readonly compromised?: true | undefined;
}

/** Where a rotation stands. */
export type Rotation =
  | { readonly state: 'idle'; readonly active: AuthorityPair }
  /** The next authority is made and used for nothing. */
  | (UnderWay & { readonly state: 'prepared'; readonly next: AuthorityPair })
  /** Both roots are in the trust bundle; not everybody has it yet. */
  | (UnderWay & { readonly state: 'published'; readonly next: AuthorityPair; readonly publishedAtMs: number })
  /** Everybody has it (or an operator goes on without the rest). */
  | (UnderWay & { readonly state: 'seen'; readonly next: AuthorityPair })
  /** `active` is the new one; SVIDs under `old` are still good. */
  | (UnderWay & {
      readonly state: 'activated';
      readonly old: AuthorityPair;
      readonly activatedAtMs: number;
      /** Whether holders of SVIDs under `old` are asked to renew at once instead of in their time. */
      readonly tainted: boolean;
    });

/** A step from one state to the next. */
export type RotationStep = 'publish' | 'see' | 'activate' | 'retire';

/** Begins. @throws Error when one is under way */
export function prepare(rotation: Rotation, target: RotationTarget, next: AuthorityPair, nowMs: number): Rotation {
  if (rotation.state !== 'idle') throw illegal('prepare', rotation);
  return { state: 'prepared', target, startedAtMs: nowMs, active: rotation.active, next };
}

/** Declares the root that goes compromised: its certificate of the new one is dropped. What is no rotation of the root is left as it is. */
export function declareCompromised(rotation: Rotation): Rotation {
  if (rotation.state === 'idle' || rotation.target !== 'root') return rotation;
  if (rotation.state === 'activated') return { ...rotation, compromised: true, active: withoutCross(rotation.active) };
  return { ...rotation, compromised: true, next: withoutCross(rotation.next) };
}

/** Whether the root that goes was declared compromised. */
export function isCompromised(rotation: Rotation): boolean {
  return rotation.state !== 'idle' && rotation.compromised === true;
}

function withoutCross({ cross: _, ...pair }: AuthorityPair): AuthorityPair {
  return pair;
}

/** Takes a step. @throws Error when the state has no such step: a fault of the caller */
export function take(rotation: Rotation, step: RotationStep, nowMs: number): Rotation {
  switch (step) {
    case 'publish':
      if (rotation.state !== 'prepared' || rotation.target !== 'root') throw illegal(step, rotation);
      return { ...rotation, state: 'published', publishedAtMs: nowMs };
    case 'see': {
      if (rotation.state !== 'published') throw illegal(step, rotation);
      const { publishedAtMs: _, ...rest } = rotation;
      return { ...rest, state: 'seen' };
    }
    case 'activate': {
      const isReady = rotation.state === 'seen' || (rotation.state === 'prepared' && rotation.target === 'issuing');
      if (!isReady) throw illegal(step, rotation);
      const { next, active, target, startedAtMs, compromised } = rotation;
      // A root can go only when nothing hangs on it; an issuing CA costs nothing while its leaves run out.
      const tainted = target === 'root';
      const marked = compromised === true ? { compromised } : {};
      const times = { startedAtMs, activatedAtMs: nowMs };
      return { state: 'activated', target, ...times, ...marked, active: next, old: active, tainted };
    }
    case 'retire':
      if (rotation.state !== 'activated') throw illegal(step, rotation);
      return { state: 'idle', active: rotation.active };
  }
}

/** Asks for the early renewal of all that is under the old authority; a root is declared compromised by it. @throws Error when there is none */
export function taint(rotation: Rotation): Rotation {
  if (rotation.state !== 'activated') throw illegal('taint', rotation);
  return declareCompromised({ ...rotation, tainted: true });
}

/** Notes that an issuing CA signs under a pair's root, where a CA elsewhere has made itself a new one. */
export function withIssuing(pair: AuthorityPair, issuing: AuthorityId): AuthorityPair {
  if (pair.issuing === issuing) return pair;
  const earlier = [pair.issuing, ...(pair.earlier ?? [])].filter((id) => id !== issuing).slice(0, maxEarlier);
  return { ...pair, issuing, earlier };
}

/** Replaces the issuing CA in use at once, whatever is under way: it is about to run out. */
export function replaceIssuing(rotation: Rotation, issuing: AuthorityId): Rotation {
  return { ...rotation, active: { ...rotation.active, issuing } };
}

/** Roots that the trust bundle holds in this state, the one in use first. */
export function trustedRoots(rotation: Rotation): readonly AuthorityId[] {
  switch (rotation.state) {
    case 'idle':
    case 'prepared':
      return [rotation.active.root];
    case 'published':
    case 'seen':
      return distinct([rotation.active.root, rotation.next.root]);
    case 'activated':
      return distinct([rotation.active.root, rotation.old.root]);
  }
}

/** Authorities under which nothing is issued any more; of those that a rotation leaves behind. */
export function superseded(rotation: Rotation): readonly AuthorityId[] {
  if (rotation.state !== 'activated') return [];
  const { old, active } = rotation;
  const inUse = [active.root, active.issuing, ...(active.earlier ?? [])];
  return distinct([old.root, old.issuing, ...(old.earlier ?? [])]).filter((id) => !inUse.includes(id));
}

/** Authorities whose SVIDs are to be renewed now. */
export function taintedAuthorities(rotation: Rotation): readonly AuthorityId[] {
  return rotation.state === 'activated' && rotation.tainted ? superseded(rotation) : [];
}

/** Every authority whose key is still needed. */
export function heldAuthorities(rotation: Rotation): {
  roots: readonly AuthorityId[];
  issuing: readonly AuthorityId[];
} {
  const pairs = [
    rotation.active,
    ...('next' in rotation ? [rotation.next] : []),
    ...('old' in rotation ? [rotation.old] : []),
  ];
  return { roots: distinct(pairs.map(({ root }) => root)), issuing: distinct(pairs.map(({ issuing }) => issuing)) };
}

function distinct(ids: readonly AuthorityId[]): AuthorityId[] {
  return [...new Set(ids)];
}

function illegal(what: string, { state }: Rotation): Error {
  return new Error(`a rotation that is ${state} can not ${what}`);
}
