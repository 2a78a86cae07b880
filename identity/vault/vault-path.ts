import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';

/**
 * Joins segments to a path. Mounts may hold slashes; every part must be of `[A-Za-z0-9_-]`, so that none can climb out of the path.
 * @throws MeshError SLV-1002
 */
export function vaultPath(...segments: readonly string[]): string {
  return segments.join('/').split('/').map(vaultName).join('/');
}

/**
 * One part of a path: the name of a role, an issuer, a policy.
 * @throws MeshError SLV-1002
 */
export function vaultName(name: string): string {
  if (/^[A-Za-z0-9_-]{1,128}$/.test(name)) return name;
  throw new MeshError('SLV-1002', `${quote(name)} can not be part of a Vault path: letters, digits, - and _ only.`);
}
