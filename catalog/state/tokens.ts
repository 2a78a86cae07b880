import { z } from 'zod';
import { readTokenRole, type TokenRole } from '#policies/token-role.ts';
import type { KeyValue } from '#store/contract.ts';
import { decode, type Indexed } from './indexed.ts';
import { keyOf } from './keys.ts';
import type { Touch } from './topics.ts';

/** A token as it is stored: never its secret. */
export const tokenRecordSchema = z.object({
  /** UUID: names the token wherever it is spoken of. */
  Accessor: z.string(),
  /** SHA-256 of the secret, hex. */
  SecretHash: z.string(),
  /** Texts of policies/token-role.ts. */
  Roles: z.array(z.string()),
  Description: z.string(),
  /** Who made it, as the audit log names callers. */
  CreatedBy: z.string(),
  CreatedAtMs: z.number(),
  /** Absent: until it is revoked. */
  ExpiresAtMs: z.number().optional(),
});
export type TokenRecord = z.infer<typeof tokenRecordSchema>;

/** A token with what its roles mean. */
export interface StoredToken extends Indexed<TokenRecord> {
  /** A role that only a newer release knows gives nothing here. */
  readonly roles: readonly TokenRole[];
}

/** All tokens, by accessor; the expired too, until they are revoked. */
export class Tokens {
  readonly #byKey = new Map<string, StoredToken>();

  get(accessor: string): StoredToken | undefined {
    return this.#byKey.get(keyOf('tokens', accessor));
  }

  /** The oldest first. */
  list(): StoredToken[] {
    return [...this.#byKey.values()].sort((a, b) => a.createIndex - b.createIndex);
  }

  get size(): number {
    return this.#byKey.size;
  }

  put(kv: KeyValue, touch: Touch): void {
    const token = decode(tokenRecordSchema, kv);
    this.#byKey.set(kv.key, { ...token, roles: token.record.Roles.flatMap((text) => readTokenRole(text) ?? []) });
    touch('tokens');
  }

  delete(key: string, touch: Touch): void {
    if (this.#byKey.delete(key)) touch('tokens');
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }
}
