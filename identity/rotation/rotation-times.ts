/** How long a rotation waits for what, and when one begins by itself. */
export interface RotationTimes {
  /** Age, as a part of its life, at which the issuing CA is rotated; undefined: not by itself. */
  readonly issuingAtFraction: number | undefined;
  /** The same for the root; undefined: not by itself, its age is warned of. */
  readonly rootAtFraction: number | undefined;
  /** After this long, proxies without the new bundle are a matter for an operator. */
  readonly deadlineMs: number;
  /** Without a catalog to ask, the bundle counts as seen after this: three refresh hints. */
  readonly blindWaitMs: number;
  /** How long connections that were made with SVIDs under the old root are given to end, once all SVIDs are renewed. */
  readonly settleMs: number;
}

export const defaultRotationTimes: RotationTimes = {
  issuingAtFraction: 0.5,
  rootAtFraction: undefined,
  deadlineMs: 600_000,
  blindWaitMs: 180_000,
  settleMs: 300_000,
};

/** A root that is not rotated by itself is warned of from this part of its life on. */
export const rootWarningFraction = 0.75;
