import { MeshError } from '#policies/errors/mesh-error.ts';
import { VaultError } from './transport.ts';

/**
 * What a failed call to Vault means (reference/identity.md 3.6): `transient`: the same call may do later, `denied`: the token is gone or its policy
 * says no, `internal`: Vault's 500, which is a hiccup of its storage or a policy program that refused, `permanent`: the call itself is wrong.
 */
export type VaultFailureKind = 'transient' | 'denied' | 'internal' | 'permanent';

/** Sealed, standby (429, 472, 473), overloaded, behind a broken gateway, or redirecting to the active node. */
const transientStatuses: ReadonlySet<number> = new Set([307, 308, 408, 412, 429, 472, 473, 502, 503, 504]);

/** Classifies by status alone: bodies are for people. */
export function vaultFailureKind(error: VaultError): VaultFailureKind {
  if (error.status === undefined || transientStatuses.has(error.status)) return 'transient';
  if (error.status === 403) return 'denied';
  return error.status === 500 ? 'internal' : 'permanent';
}

/**
 * The MeshError for a failed call: SLV-2140 when a later try may do, SLV-2141 when none will. Other errors pass unchanged.
 * @param doing what was tried, for the message: `sign a certificate`
 */
export function caErrorOf(error: unknown, doing: string): unknown {
  if (!(error instanceof VaultError)) return error;
  const transient = vaultFailureKind(error) === 'transient';
  const redirect = error.status === 307 || error.status === 308;
  const hint = redirect ? ' (a standby that redirects: give the address of the active node or of a load balancer)' : '';
  return new MeshError(transient ? 'SLV-2140' : 'SLV-2141', `Vault did not ${doing}: ${error.message}${hint}.`, {
    ...(error.status === undefined ? {} : { detail: { vaultStatus: error.status } }),
  });
}
