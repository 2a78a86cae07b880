import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Refusal } from '../access/permissions.ts';

/** Ends a request on our own API that is refused: SLV-3006. */
export function permit(refusal: Refusal): void {
  if (refusal !== undefined) throw new MeshError('SLV-3006', `Permission denied: ${refusal}.`);
}
