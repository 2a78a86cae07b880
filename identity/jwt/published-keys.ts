import { z } from 'zod';
import { type JwtAuthority, readJwtAuthority } from '#policies/jwt-authority.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Store } from '#store/contract.ts';
import { storedRecord } from '../stored-record.ts';

const prefix = 'identity/jwt-keys/';
const records = storedRecord(z.object({ jwk: z.record(z.string(), z.string()), untilMs: z.number() }));
/** Longer than any token lives (jwt-issuance.ts): a process that ended leaves tokens behind. */
const keptMs = 2 * 3_600_000;
/** A key that is in use is kept on so often. */
export const keepOnEveryMs = 600_000;

/**
 * The public halves of the keys that sign JWT-SVIDs, of all processes on a store: each process signs with keys of its own, which never leave it, and
 * every process publishes those of all.
 */
export class PublishedKeys {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** In the order of their names. Those of processes that have been gone for long are left out, and dropped. */
  async list(): Promise<readonly JwtAuthority[]> {
    const nowMs = this.#clock();
    const authorities: JwtAuthority[] = [];
    for (const kv of (await this.#store.range(prefix)).kvs) {
      const { jwk, untilMs } = records.decode(kv);
      const authority = untilMs < nowMs ? undefined : readJwtAuthority({ ...jwk, kid: kv.key.slice(prefix.length) });
      if (authority !== undefined) authorities.push(authority);
    }
    return authorities;
  }

  /** Has these in the list, for two hours if nothing is heard again. */
  async keep(authorities: readonly JwtAuthority[]): Promise<void> {
    const untilMs = this.#clock() + keptMs;
    for (const { kid, jwk } of authorities)
      await this.#store.put(prefix + kid, records.encode({ jwk: { ...jwk }, untilMs }));
  }

  /** Takes out what is in the list and is gone: by name, and whatever has not been heard of for a day. */
  async drop(kids: readonly string[]): Promise<void> {
    for (const kid of kids) await this.#store.delete(prefix + kid);
    const longAgoMs = this.#clock() - 86_400_000;
    for (const kv of (await this.#store.range(prefix)).kvs)
      if (records.decode(kv).untilMs < longAgoMs) await this.#store.delete(kv.key);
  }
}
