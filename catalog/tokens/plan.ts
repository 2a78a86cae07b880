import { MeshError } from '#policies/errors/mesh-error.ts';
import { formatTokenRole, type TokenRole } from '#policies/token-role.ts';
import type { FreshToken } from '../access/token-secret.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { encode } from '../state/indexed.ts';
import { keyOf } from '../state/keys.ts';
import type { TokenRecord } from '../state/tokens.ts';

/** Tokens at once: each is in the memory of every catalog. */
const maxTokens = 10_000;
/** Roles of one token. */
export const maxTokenRoles = 32;
/** Longest description. */
export const maxDescriptionLength = 256;

/** A token as it is asked for, by whichever API. */
export interface TokenRequest {
  /** At least one. */
  readonly roles: readonly TokenRole[];
  readonly description: string;
  readonly nowMs: number;
  /** Undefined: good until it is revoked. */
  readonly expiresAtMs: number | undefined;
}

/** Plans a token. @throws MeshError SLV-3010 */
export function planToken(
  state: CatalogState,
  fresh: FreshToken,
  request: TokenRequest,
  createdBy: string,
): WritePlan<void> {
  if (state.tokens.size >= maxTokens) throw new MeshError('SLV-3010', `There are ${maxTokens} tokens already.`);
  const record: TokenRecord = {
    Accessor: fresh.accessor,
    SecretHash: fresh.secretHash,
    Roles: [...new Set(request.roles.map(formatTokenRole))],
    Description: request.description,
    CreatedBy: createdBy,
    CreatedAtMs: request.nowMs,
    ...(request.expiresAtMs === undefined ? {} : { ExpiresAtMs: request.expiresAtMs }),
  };
  const key = keyOf('tokens', fresh.accessor);
  return {
    compare: [unchanged(key, undefined)],
    operations: [{ kind: 'put', key, value: encode(record) }],
    result: undefined,
  };
}

/** Plans the end of a token. False: there is none. */
export function planRevocation(state: CatalogState, accessor: string): WritePlan<boolean> {
  const token = state.tokens.get(accessor);
  if (token === undefined) return { compare: [], operations: [], result: false };
  const key = keyOf('tokens', token.record.Accessor);
  return { compare: [unchanged(key, token.modifyIndex)], operations: [{ kind: 'delete', key }], result: true };
}
