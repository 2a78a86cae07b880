/**
 * The life of a key that signs JWT-SVIDs: prepared (made and put into the bundle), published (the bundle with it is out), active (it signs), retired (it
 * signs no more, and stays in the bundle until what it signed has expired), gone. Times are Unix milliseconds.
 */
export type KeyState =
  | { readonly kind: 'prepared' }
  | { readonly kind: 'published'; readonly sinceMs: number }
  | { readonly kind: 'active'; readonly sinceMs: number }
  | { readonly kind: 'retired'; readonly sinceMs: number };

/** A key in one of its states. */
export interface StatefulKey {
  readonly kid: string;
  readonly state: KeyState;
}

/** How long each state lasts. */
export interface KeyTiming {
  /** A successor is prepared when the active key has signed for so long. */
  readonly rotateAfterMs: number;
  /** How long the bundle is out before the key signs: three refresh hints, so that who missed one or two has it (SPIFFE Federation 5.2.2). */
  readonly publishedMs: number;
  /** How long a key that signs no more is needed: the longest life of a token, and what clocks may differ. */
  readonly retiredMs: number;
}

/**
 * A key signs for half a day. The bundle's refresh hint is a minute (trust-publication.ts), and a token lives an hour at most (jwt-issuance.ts): for every clock it has
 * expired two minutes later.
 */
export const keyTiming: KeyTiming = { rotateAfterMs: 43_200_000, publishedMs: 180_000, retiredMs: 3_720_000 };

/** What is to be done next. */
export type KeyStep =
  /** Make a first key, which signs at once: there is nothing that it could follow. */
  | { readonly kind: 'begin' }
  /** Make a successor and put it into the bundle. */
  | { readonly kind: 'prepare' }
  /** The bundle with this key is out: remember since when. */
  | { readonly kind: 'publish'; readonly kid: string }
  /** Sign with this key from now on; the one before it retires. */
  | { readonly kind: 'activate'; readonly kid: string }
  /** Take this key out of the bundle. */
  | { readonly kind: 'drop'; readonly kid: string };

/** @returns the next step and when it is due; a time in the past means now */
export function nextKeyStep(keys: readonly StatefulKey[], timing: KeyTiming): { step: KeyStep; dueAtMs: number } {
  const steps = keys.flatMap((key) => stepsOf(key, timing));
  const active = keys.find(({ state }) => state.kind === 'active');
  const hasSuccessor = keys.some(({ state }) => state.kind === 'prepared' || state.kind === 'published');
  if (active?.state.kind !== 'active') {
    // A key that comes to a mesh that has others is published first, as a successor is.
    if (!hasSuccessor) steps.push({ step: { kind: 'begin' }, dueAtMs: 0 });
  } else if (!hasSuccessor) {
    steps.push({ step: { kind: 'prepare' }, dueAtMs: active.state.sinceMs + timing.rotateAfterMs });
  }
  return steps.reduce((first, other) => (other.dueAtMs < first.dueAtMs ? other : first));
}

/** Applies a step that concerns keys that are there. */
export function afterStep<K extends StatefulKey>(
  keys: readonly K[],
  step: Exclude<KeyStep, { kind: 'begin' | 'prepare' }>,
  nowMs: number,
): readonly (K | (Omit<K, 'state'> & StatefulKey))[] {
  switch (step.kind) {
    case 'publish':
      return keys.map((key) =>
        key.kid === step.kid ? { ...key, state: { kind: 'published', sinceMs: nowMs } as const } : key,
      );
    case 'activate':
      return keys.map((key) => {
        if (key.kid === step.kid) return { ...key, state: { kind: 'active', sinceMs: nowMs } as const };
        return key.state.kind === 'active' ? { ...key, state: { kind: 'retired', sinceMs: nowMs } as const } : key;
      });
    case 'drop':
      return keys.filter(({ kid }) => kid !== step.kid);
  }
}

function stepsOf({ kid, state }: StatefulKey, timing: KeyTiming): { step: KeyStep; dueAtMs: number }[] {
  switch (state.kind) {
    case 'prepared':
      return [{ step: { kind: 'publish', kid }, dueAtMs: 0 }];
    case 'published':
      return [{ step: { kind: 'activate', kid }, dueAtMs: state.sinceMs + timing.publishedMs }];
    case 'active':
      return [];
    case 'retired':
      return [{ step: { kind: 'drop', kid }, dueAtMs: state.sinceMs + timing.retiredMs }];
  }
}
