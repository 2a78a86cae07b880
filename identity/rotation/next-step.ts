import type { Rotation, RotationStep } from './rotation.ts';

/** Who has the trust bundle, as far as is known. */
export type Sightings =
  /** The catalog answered: live proxies without it, by name. */
  | { readonly kind: 'proxies'; readonly missing: readonly string[] }
  /** There is a catalog and it does not answer. */
  | { readonly kind: 'unknown'; readonly reason: string }
  /** No catalog was named: by time alone. */
  | { readonly kind: 'by-time' };

/** What a decision depends on. */
export interface RotationFacts {
  readonly nowMs: number;
  /** The earliest that the clock was while this state was waited in: where it went back, waiting begins anew there, and is not prolonged by as much as it went. */
  readonly earliestMs: number;
  readonly sightings: Sightings;
  /** Without a catalog, the bundle counts as seen after this: some refresh hints. */
  readonly blindWaitMs: number;
  /** After this long the missing are a matter for an operator. */
  readonly deadlineMs: number;
  /** Newest SVIDs that are still under the old authority, by holder. */
  readonly holdouts: readonly string[];
  /** When the last SVID under the old authority ends. */
  readonly oldEndsAtMs: number;
  /** Since when there have been no holdouts; undefined: there are some, or who holds what is not known. */
  readonly settledSinceMs: number | undefined;
  /** How long connections that were made with the old SVIDs are given to end. */
  readonly settleMs: number;
}

/** What to do now. */
export type Decision =
  | { readonly kind: 'rest' }
  | { readonly kind: 'step'; readonly step: RotationStep }
  | {
      readonly kind: 'wait';
      readonly reason: string;
      /** By name: proxies without the bundle, or holders of old SVIDs. */
      readonly missing: readonly string[];
      /** The deadline has passed: it goes on when the missing come, or when an operator forces it. */
      readonly overdue: boolean;
    };

/** The next step of a rotation, from what is known. Pure; asked again and again. @param forced an operator does not want to wait here */
export function nextStep(rotation: Rotation, facts: RotationFacts, forced = false): Decision {
  switch (rotation.state) {
    case 'idle':
      return { kind: 'rest' };
    case 'prepared':
      return step(rotation.target === 'root' ? 'publish' : 'activate');
    case 'published':
      return forced ? step('see') : sighted(Math.min(rotation.publishedAtMs, facts.earliestMs), facts);
    case 'seen':
      return step('activate');
    case 'activated':
      return forced ? step('retire') : drained(facts);
  }
}

function sighted(publishedAtMs: number, facts: RotationFacts): Decision {
  const waitedMs = facts.nowMs - publishedAtMs;
  const overdue = waitedMs >= facts.deadlineMs;
  switch (facts.sightings.kind) {
    case 'by-time':
      if (waitedMs >= facts.blindWaitMs) return step('see');
      return wait(
        `no catalog to ask who has the bundle (--catalog): nodes have ${facts.blindWaitMs / 1_000} s to fetch it`,
        [],
        false,
      );
    case 'unknown':
      return wait(`the catalog does not say who has the bundle: ${facts.sightings.reason}`, [], overdue);
    case 'proxies': {
      const { missing } = facts.sightings;
      return missing.length === 0 ? step('see') : wait('proxies do not have the bundle yet', missing, overdue);
    }
  }
}

function drained(facts: RotationFacts): Decision {
  const { nowMs, oldEndsAtMs, settledSinceMs, settleMs, holdouts } = facts;
  if (nowMs > oldEndsAtMs) return step('retire');
  if (settledSinceMs !== undefined && nowMs - settledSinceMs >= settleMs) return step('retire');
  if (holdouts.length > 0) return wait('SVIDs under the old authority are in use', holdouts, false);
  return wait('connections made with SVIDs under the old authority are given time to end', [], false);
}

function step(which: RotationStep): Decision {
  return { kind: 'step', step: which };
}

function wait(reason: string, missing: readonly string[], overdue: boolean): Decision {
  return { kind: 'wait', reason, missing, overdue };
}
