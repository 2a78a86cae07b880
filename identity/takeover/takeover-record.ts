import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Store } from '#store/contract.ts';
import { type CaConfig, caConfigSchema } from '../backends/ca-config.ts';
import type { AuthorityPair, Rotation } from '../rotation/rotation.ts';
import { authorityPairSchema, rotationSchema } from '../rotation/rotation-record.ts';
import { storedRecord } from '../stored-record.ts';

/** A CA as the mesh knows it: how it is reached, and the roots that are trusted for it. */
export interface CaSource {
  readonly config: CaConfig;
  /** DER; for a settled embedded CA empty: its own journal says. */
  readonly roots: readonly Uint8Array[];
}

/** A rotation that is not idle. */
export type RotationUnderWay = Exclude<Rotation, { state: 'idle' }>;

/**
 * Which CA the mesh's certificates come from, and where a takeover by another stands. The journal of the embedded CA's own rotations is another
 * (backends/authority-files.ts): that one holds keys, this one none.
 */
export type TakeoverRecord =
  | {
      readonly state: 'settled';
      readonly active: CaSource;
      /** Under what its certificates are; undefined: none was signed yet, or the CA is embedded and knows itself. */
      readonly pair: AuthorityPair | undefined;
    }
  /** Until it is activated, `from` signs; from then on `to`. */
  | {
      readonly state: 'under-way';
      readonly rotation: RotationUnderWay;
      readonly from: CaSource;
      readonly to: CaSource;
    };

const root = z.base64().transform((text) => new Uint8Array(Buffer.from(text, 'base64')));
const source = z.strictObject({ config: caConfigSchema, roots: z.array(root).max(16) });
const schema = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('settled'), active: source, pair: authorityPairSchema.optional() }),
  z.strictObject({ state: z.literal('under-way'), rotation: rotationSchema, from: source, to: source }),
]);
const key = 'identity/ca/in-use';
const stored = storedRecord(schema);

/** Where the record is kept: in the store, each change durable when it resolves. */
export interface TakeoverJournal {
  /** @returns undefined when nothing was ever written. Throws SLV-2143 when it can't be read */
  load(): Promise<TakeoverRecord | undefined>;
  /** @returns false: another process has written since it was loaded; nothing was saved, and it is to be loaded again */
  save(record: TakeoverRecord): Promise<boolean>;
}

/** The journal in a store. */
export function openTakeoverJournal(store: Store): TakeoverJournal {
  let revision: number | undefined;
  return {
    async load() {
      const found = await store.get(key);
      revision = found?.modRevision;
      if (found === undefined) return undefined;
      const record = stored.decode(found);
      if (record.state === 'settled') return { ...record, pair: record.pair };
      const { rotation } = record;
      if (rotation.state === 'idle')
        throw new MeshError('SLV-2143', `The record ${key} of the store can not be read.`, { detail: { key } });
      return { ...record, rotation };
    },
    async save(record) {
      const value = Buffer.from(JSON.stringify(record, (_, each) => (isBytes(each) ? base64(each) : each)));
      const { succeeded, revision: written } = await store.txn({
        compare: [revision === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: revision }],
        success: [{ kind: 'put', key, value }],
      });
      if (succeeded) revision = written;
      return succeeded;
    },
  };
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
