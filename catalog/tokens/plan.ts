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

/** What a token is to be. */
export interface TokenDraft {
  /** At least one. */
  readonly roles: readonly TokenRole[];
  readonly description: string;
  readonly createdBy: string;
  readonly nowMs: number;
  /** Undefined: until it is revoked. */
  readonly expiresAtMs: number | undefined;
}

/** Plans a token. @throws MeshError SLV-3010 */
export function planToken(state: CatalogState, fresh: FreshToken, draft: TokenDraft): WritePlan<void> {
  if (state.tokens.size >= maxTokens) throw new MeshError('SLV-3010', `There are ${maxTokens} tokens already.`);
  const record: TokenRecord = {
    Accessor: fresh.accessor,
    SecretHash: fresh.secretHash,
    Roles: [...new Set(draft.roles.map(formatTokenRole))],
    Description: draft.description,
    CreatedBy: draft.createdBy,
    CreatedAtMs: draft.nowMs,
    ...(draft.expiresAtMs === undefined ? {} : { ExpiresAtMs: draft.expiresAtMs }),
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
