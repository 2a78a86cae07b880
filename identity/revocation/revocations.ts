import { createHash } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Store } from '#store/contract.ts';
import { storedRecord } from '../stored-record.ts';

/** Revocations at once: every proxy carries them all, and the signed bundle has a limit. */
export const maxRevocations = 10_000;
/** Kept in the store for so long beyond that: a clock that is ahead at a start must not forget what holds once it is right. */
const keptMs = 30 * 86_400_000;
/** A verifier lets 60 s of skew pass; two minutes after its end a certificate is gone for everybody. */
const graceMs = 120_000;

const common = { id: z.string(), createdAtMs: z.number(), reason: z.string().optional() };
const recordSchema = z.discriminatedUnion('kind', [
  z.object({
    ...common,
    kind: z.literal('serial'),
    /** Lower-case hex. */
    serial: z.string(),
    /** End of the certificate; absent: unknown, so it is kept until it is deleted. */
    notAfterMs: z.number().optional(),
  }),
  z.object({ ...common, kind: z.literal('spiffe-id'), spiffeId: z.string() }),
]);

/** A revocation of one certificate or of one SPIFFE ID, as stored: `identity/revocations/<id>`. Those of nodes are in the node's record (nodes.ts). */
export type RevocationRecord = z.infer<typeof recordSchema>;

/** What is to be revoked. */
export type Revocable =
  | { readonly kind: 'serial'; readonly serial: string; readonly notAfterMs: number | undefined }
  | { readonly kind: 'spiffe-id'; readonly spiffeId: SpiffeId };

const records = storedRecord(recordSchema);
const prefix = 'identity/revocations/';

/** The revocations of certificates and SPIFFE IDs, in the store. Reads are linearizable: one holds from the moment that it was answered. */
export class Revocations {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Revokes, durably. What is revoked already stays as it is.
   * @throws MeshError SLV-2160 when there are too many
   */
  async add(what: Revocable, reason: string | undefined): Promise<RevocationRecord> {
    const id = idOf(what);
    const record: RevocationRecord = {
      ...(what.kind === 'serial' ? withoutUndefined(what) : what),
      id,
      createdAtMs: this.#clock(),
      ...(reason === undefined ? {} : { reason }),
    };
    if ((await this.list()).length >= maxRevocations) {
      throw new MeshError('SLV-2160', `There are ${maxRevocations} revocations, which is the limit.`);
    }
    const { succeeded } = await this.#store.txn({
      compare: [{ kind: 'absent', key: prefix + id }],
      success: [{ kind: 'put', key: prefix + id, value: records.encode(record) }],
    });
    if (succeeded) return record;
    return (await this.#get(id)) ?? record;
  }

  /** Those that still mean something, oldest first. */
  async list(): Promise<RevocationRecord[]> {
    const { kvs } = await this.#store.range(prefix);
    const nowMs = this.#clock();
    return kvs
      .map(records.decode)
      .filter((record) => !isOver(record, nowMs))
      .sort((a, b) => a.createdAtMs - b.createdAtMs);
  }

  /** @throws MeshError SLV-2171 when there is none */
  async delete(id: string): Promise<RevocationRecord> {
    const record = await this.#get(id);
    if (record === undefined || !(await this.#store.delete(prefix + id)))
      throw new MeshError('SLV-2171', 'There is no such revocation.');
    return record;
  }

  /** Removes those whose certificate ran out 30 days ago: what a clock that is ahead takes for over is not listed, and comes back with the clock. */
  async prune(): Promise<void> {
    const nowMs = this.#clock();
    for (const kv of (await this.#store.range(prefix)).kvs) {
      if (isOver(records.decode(kv), nowMs - keptMs)) await this.#store.delete(kv.key);
    }
  }

  async #get(id: string): Promise<RevocationRecord | undefined> {
    // An id from outside is never a key before it looks like one.
    if (!/^(?:serial|id)-[0-9a-f]{1,64}$/.test(id)) return undefined;
    const kv = await this.#store.get(prefix + id);
    return kv === undefined ? undefined : records.decode(kv);
  }
}

function isOver(record: RevocationRecord, nowMs: number): boolean {
  return record.kind === 'serial' && record.notAfterMs !== undefined && record.notAfterMs + graceMs < nowMs;
}

/** The same thing revoked twice is one revocation. */
function idOf(what: Revocable): string {
  if (what.kind === 'serial') return `serial-${what.serial}`;
  return `id-${createHash('sha256').update(what.spiffeId).digest('hex').slice(0, 32)}`;
}

function withoutUndefined({ kind, serial, notAfterMs }: Extract<Revocable, { kind: 'serial' }>) {
  return { kind, serial, ...(notAfterMs === undefined ? {} : { notAfterMs }) };
}
