import type { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import type { CaBackend, CaBackendKind } from '../ca-backend.ts';

/**
 * A CA that can't be opened, in a takeover: its roots are known and trusted, it signs nothing. So a mesh whose CA was lost can start and go over to
 * another.
 */
export function lostCa(kind: CaBackendKind, roots: readonly Uint8Array[], error: MeshError, clock: Clock): CaBackend {
  return {
    kind,
    roots,
    health: { state: 'unhealthy', sinceMs: clock(), reason: error.message },
    issuingCaNotAfterMs: undefined,
    sign: () => Promise.reject(error),
    close: () => Promise.resolve(),
  };
}
