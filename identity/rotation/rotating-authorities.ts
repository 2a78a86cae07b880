import type { Rotation, RotationStep, RotationTarget } from './rotation.ts';

/** From when to when a certificate is valid. */
export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Of the authorities in use. */
export interface ValidityOfAuthorities {
  readonly root: Validity;
  readonly issuing: Validity;
}

/**
 * A CA that can be replaced while the mesh runs: the state of its rotation with the keys behind it. Every change is written down durably before the promise
 * resolves and before anything acts on it; a change that fails leaves the state as it was. Driven by rotation-driver.ts, which knows nothing of keys.
 */
export interface RotatingAuthorities {
  readonly state: Rotation;
  readonly validity: ValidityOfAuthorities;
  /** Makes the next authority. @throws MeshError SLV-2180 when a rotation is under way */
  prepare(target: RotationTarget): Promise<void>;
  /** Takes a step that nextStep named. */
  take(step: RotationStep): Promise<void>;
  /** Asks for the early renewal of what is under the authority that was left behind. */
  taint(): Promise<void>;
}
