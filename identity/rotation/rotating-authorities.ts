import type { Rotation, RotationStep, RotationTarget } from './rotation.ts';

/** From when to when a certificate is valid. */
export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Of the authorities in use. */
export interface ValidityOfAuthorities {
  readonly root: Validity;
  /** Undefined: not known now, or not ours to replace. */
  readonly issuing: Validity | undefined;
}

/** A CA that takes over from another: names of both, for people. */
export interface Takeover {
  readonly from: string;
  readonly to: string;
}

/**
 * A CA that can be replaced while the mesh runs: the state of its rotation with the keys behind it. Every change is written down durably before the promise
 * resolves and before anything acts on it; a change that fails leaves the state as it was. Driven by rotation-driver.ts, which knows nothing of keys.
 */
export interface RotatingAuthorities {
  readonly state: Rotation;
  readonly validity: ValidityOfAuthorities;
  /** Whether their keys are here, so that age is a reason to replace them. False: a CA elsewhere replaces its own. */
  readonly keysAreHere: boolean;
  /** The configuration names another CA than the one in use: a rotation of the root to it is to begin as soon as none is under way. */
  readonly isTakeoverAsked: boolean;
  /** The CAs between which the rotation goes, or will; undefined: it stays within one. */
  readonly takeover: Takeover | undefined;
  /** Makes the next authority. @throws MeshError SLV-2180 when a rotation is under way, SLV-2181 when the keys are elsewhere; what the next CA says when it can't sign */
  prepare(target: RotationTarget): Promise<void>;
  /** Declares the root that a rotation replaces compromised. Nothing where no root is being replaced. */
  declareCompromised(): Promise<void>;
  /** Takes a step that nextStep named. @throws MeshError what the next CA says when it is to be activated and can't sign */
  take(step: RotationStep): Promise<void>;
  /** Asks for the early renewal of what is under the authority that was left behind. */
  taint(): Promise<void>;
}
