import type { RotationView } from '#policies/wire/rotation-api.ts';
import type { Decision } from './next-step.ts';
import type { RotatingAuthorities } from './rotating-authorities.ts';
import { type AuthorityPair, type Rotation, taintedAuthorities } from './rotation.ts';
import { rootWarningFraction } from './rotation-times.ts';

/** Named in one answer; the count says how many more there are. */
const maxNamed = 100;

/** A rotation as operators see it. */
export function rotationView(
  rotating: RotatingAuthorities,
  now: { decision: Decision; bundleSequence: number; nowMs: number; rootRotatesByItself: boolean },
): RotationView {
  const { state, validity, takeover } = rotating;
  const { decision } = now;
  return {
    state: state.state,
    ...('target' in state ? { target: state.target, startedAt: iso(state.startedAtMs) } : {}),
    ...(takeover === undefined ? {} : { takeover }),
    active: pairOf(state.active),
    ...('next' in state ? { next: pairOf(state.next) } : {}),
    ...('old' in state ? { old: pairOf(state.old) } : {}),
    tainted: [...taintedAuthorities(state)],
    ...(decision.kind === 'wait' ? { waitingFor: waitingFor(decision) } : {}),
    bundleSequence: now.bundleSequence,
    rootNotAfter: iso(validity.root.notAfterMs),
    ...(validity.issuing === undefined ? {} : { issuingNotAfter: iso(validity.issuing.notAfterMs) }),
    warnings: warningsOf(state, rotating, now),
  };
}

function waitingFor({ reason, missing, overdue }: Extract<Decision, { kind: 'wait' }>): RotationView['waitingFor'] {
  return { reason, missing: missing.slice(0, maxNamed), missingCount: missing.length, overdue };
}

function warningsOf(
  state: Rotation,
  { validity: { root }, keysAreHere }: RotatingAuthorities,
  now: { nowMs: number; rootRotatesByItself: boolean },
): string[] {
  const age = (now.nowMs - root.notBeforeMs) / (root.notAfterMs - root.notBeforeMs);
  if (now.rootRotatesByItself || age < rootWarningFraction || ('target' in state && state.target === 'root')) return [];
  const how = keysAreHere
    ? 'selvedge identity rotate root, or --rotate-root-at'
    : 'make its successor where it is, and name that in the options (docs/rotation.md)';
  return [`the root ends at ${iso(root.notAfterMs)} and is not rotated by itself: ${how}`];
}

function pairOf({ root, issuing }: AuthorityPair) {
  return { root, issuing };
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
