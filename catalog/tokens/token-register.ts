import { formatTokenRole } from '#policies/token-role.ts';
import { type Caller, nameOf } from '../access/caller.ts';
import { freshToken } from '../access/token-secret.ts';
import type { CatalogParts } from '../parts.ts';
import { planRevocation, planToken, type TokenRequest } from './plan.ts';

/**
 * Makes a token and writes it. @returns its accessor, and its secret, which is nowhere else
 * @throws MeshError SLV-3010, and what CatalogWriter throws
 */
export async function createToken(
  parts: CatalogParts,
  caller: Caller,
  request: TokenRequest,
): Promise<{ accessor: string; secret: string }> {
  const { state, writer, context } = parts;
  const fresh = freshToken(context.randomBytes);
  const createdBy = nameOf(caller);
  await writer.commit(() => planToken(state, fresh, request, createdBy));
  const { accessor, secret } = fresh;
  const roles = request.roles.map(formatTokenRole);
  context.log.info({ audit: 'token-create', caller: createdBy, accessor, roles }, 'token made');
  return { accessor, secret };
}

/** Revokes a token, and with it what is open under it, at every catalog of this store. @returns false: there is none of this accessor */
export async function revokeToken(parts: CatalogParts, caller: Caller, accessor: string): Promise<boolean> {
  await parts.follower.catchUp(); // it may have been made at another catalog a moment ago
  const revoked = await parts.writer.commit(() => planRevocation(parts.state, accessor));
  parts.context.log.info({ audit: 'token-revoke', caller: nameOf(caller), accessor, revoked }, 'token revoked');
  return revoked;
}
