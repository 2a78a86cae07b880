import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Store } from '#store/contract.ts';
import { type AuthorityId, heldAuthorities, type Rotation } from '../rotation/rotation.ts';
import { rotationSchema } from '../rotation/rotation-record.ts';
import { storedRecord } from '../stored-record.ts';
import type { AuthorityFiles, AuthorityRole } from './authority-files.ts';

/** Where it is in the store. */
export const storedJournalKey = 'identity/ca/embedded';
const key = storedJournalKey;
const journals = storedRecord(rotationSchema);

/** The journal of an embedded CA that several processes have in turn: which CA is which, never a key. @throws MeshError SLV-2143 */
export async function loadStoredJournal(store: Store): Promise<Rotation | undefined> {
  const kv = await store.get(key);
  return kv === undefined ? undefined : journals.decode(kv);
}

/** What of it is in the store, for a CA that moves there. */
export function storedJournalEntry(rotation: Rotation): { readonly key: string; readonly value: Uint8Array } {
  return { key, value: journals.encode(rotation) };
}

/** Forgets it: another CA has taken over. */
export async function forgetStoredJournal(store: Store): Promise<void> {
  await store.delete(key);
}

/**
 * The files of an embedded CA whose journal is in the store: keys stay in files, and what they are is said in one place for all processes, by transactions
 * that only the active one can make. The file `journal.json` becomes a copy, for the way back to a store of its own.
 */
export function withStoredJournal(files: AuthorityFiles, store: Store): AuthorityFiles {
  let known: { readonly rotation: Rotation; readonly revision: number } | undefined;
  /** Let go of, and still on disk. */
  let pending: readonly AuthorityName[] = [];

  const write = async (rotation: Rotation): Promise<boolean> => {
    const { succeeded, revision } = await store.txn({
      compare: [known === undefined ? { kind: 'absent', key } : { kind: 'mod-revision', key, equals: known.revision }],
      success: [{ kind: 'put', key, value: journals.encode(rotation) }],
    });
    if (!succeeded) return false;
    known = { rotation, revision };
    await files.saveJournal(rotation);
    return true;
  };

  return {
    load: (role, id) => files.load(role, id),
    save: (role, id, authority) => files.save(role, id, authority),
    async loadJournal() {
      const kv = await store.get(key);
      if (kv !== undefined) {
        known = { rotation: journals.decode(kv), revision: kv.modRevision };
        return known.rotation;
      }
      // That of a service that was alone until now.
      const before = await files.loadJournal();
      if (before !== undefined) await write(before);
      return before;
    },
    async saveJournal(rotation) {
      const before = known?.rotation;
      if (!(await write(rotation)))
        throw new MeshError('SLV-2184', 'Another process has changed the CA: this one begins anew.');
      if (before !== undefined) pending = [...pending, ...namesIn(before)];
    },
    createJournal: write,
    /** Others may have made CAs since, in this very directory: only what this journal has just let go is removed. */
    async forgetOthers(rotation) {
      const kept = new Set(namesIn(rotation).map(([, id]) => id));
      const gone = pending.filter(([, id]) => !kept.has(id));
      pending = [];
      await Promise.all(gone.map(([role, id]) => files.forget(role, id)));
    },
    forget: (role, id) => files.forget(role, id),
  };
}

type AuthorityName = readonly [role: AuthorityRole, id: AuthorityId];

function namesIn(rotation: Rotation): readonly AuthorityName[] {
  const { roots, issuing } = heldAuthorities(rotation);
  return [...roots.map((id) => ['root', id] as const), ...issuing.map((id) => ['issuing', id] as const)];
}

/**
 * Whether a directory has every key that the journal names.
 * @throws MeshError SLV-2188 naming the first that it has not
 */
export async function requireKeysOf(rotation: Rotation, files: AuthorityFiles, dataDir: string): Promise<void> {
  for (const [role, id] of namesIn(rotation)) {
    await files.load(role, id).catch((cause: unknown) => {
      throw new MeshError(
        'SLV-2188',
        `The CA of this mesh has the root sha256:${rotation.active.root}; the key of its ${role} CA ${id.slice(0, 16)} is not in ${dataDir}/ca.`,
        { cause, detail: { root: rotation.active.root, missing: id } },
      );
    });
  }
}
