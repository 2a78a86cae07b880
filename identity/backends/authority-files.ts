import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { toPem } from '#policies/der-writer.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { createFileOnceSync, ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { type AuthorityId, heldAuthorities, type Rotation } from '../rotation/rotation.ts';
import { rotationSchema } from '../rotation/rotation-record.ts';
import type { Authority } from '../x509-authority.ts';

/**
 * Where the embedded CA keeps its CAs. Each has a file of its own, made once and never changed: certificate and key together (0600), so that no crash can
 * part them. Which of them is what is said by one further file, the journal, replaced atomically: a crash leaves the old state or the new.
 * Failures of the file system are SLV-1005, contents that are not what was written SLV-2143.
 */
export interface AuthorityFiles {
  load(role: AuthorityRole, id: AuthorityId): Promise<Authority>;
  /** Durable when it resolves. */
  save(role: AuthorityRole, id: AuthorityId, authority: Authority): Promise<void>;
  /** @returns undefined when nothing was ever written */
  loadJournal(): Promise<Rotation | undefined>;
  /** Durable when it resolves. */
  saveJournal(rotation: Rotation): Promise<void>;
  /** Saves it unless there is one already. @returns false when there was */
  createJournal(rotation: Rotation): Promise<boolean>;
  /** Removes the keys that the journal does not need any more. */
  forgetOthers(rotation: Rotation): Promise<void>;
  /** Removes one, if it is there. */
  forget(role: AuthorityRole, id: AuthorityId): Promise<void>;
}

export type AuthorityRole = 'root' | 'issuing';

const maxFileBytes = 65_536;
const journalName = 'journal.json';
const authorityFile = /^(?:root|issuing)-.*\.pem$/;

/** Files `root-<id>.pem`, `issuing-<id>.pem` and `journal.json` in `<dataDir>/ca`. */
export async function openAuthorityFiles(dataDir: string): Promise<AuthorityFiles> {
  const folder = join(dataDir, 'ca');
  await ensurePrivateDirectory(folder);
  const journal = join(folder, journalName);
  const pathOf = (role: AuthorityRole, id: AuthorityId): string => join(folder, fileName(role, id));
  return {
    async load(role, id) {
      const path = pathOf(role, id);
      const text = await readFileBounded(path, maxFileBytes);
      if (text === undefined) throw unusable(path, 'it is not there, although the journal names it');
      return parseAuthority(text.toString('utf8'), path);
    },
    save: (role, id, authority) => writeFileAtomic(pathOf(role, id), format(authority)),
    async loadJournal() {
      const text = await readFileBounded(journal, maxFileBytes);
      return text === undefined ? undefined : parseJournal(text.toString('utf8'), journal);
    },
    saveJournal: (rotation) => writeFileAtomic(journal, JSON.stringify(rotation)),
    createJournal: async (rotation) => createFileOnceSync(journal, JSON.stringify(rotation)),
    async forgetOthers(rotation) {
      const { roots, issuing } = heldAuthorities(rotation);
      const kept = new Set([
        ...roots.map((id) => fileName('root', id)),
        ...issuing.map((id) => fileName('issuing', id)),
      ]);
      const others = (await readdir(folder)).filter((name) => authorityFile.test(name) && !kept.has(name));
      await Promise.all(others.map((name) => unlink(join(folder, name))));
    },
    forget: (role, id) => rm(pathOf(role, id), { force: true }),
  };
}

/** Whether an embedded CA is or was kept there. */
export async function hasAuthorityFiles(dataDir: string): Promise<boolean> {
  return (await readFileBounded(join(dataDir, 'ca', journalName), maxFileBytes)) !== undefined;
}

/** Removes the embedded CA with its keys: another CA has taken over. The journal goes first, so that no crash leaves one that names lost keys. */
export async function removeAuthorityFiles(dataDir: string): Promise<void> {
  const folder = join(dataDir, 'ca');
  await ensurePrivateDirectory(folder);
  await rm(join(folder, journalName), { force: true });
  const others = (await readdir(folder)).filter((name) => authorityFile.test(name));
  await Promise.all(others.map((name) => unlink(join(folder, name))));
}

/** The same in memory: a new CA with each start. */
export function memoryAuthorityFiles(): AuthorityFiles {
  const held = new Map<string, Authority>();
  let journal: Rotation | undefined;
  return {
    async load(role, id) {
      const authority = held.get(fileName(role, id));
      if (authority === undefined) throw unusable(fileName(role, id), 'it was never saved');
      return authority;
    },
    save: async (role, id, authority) => void held.set(fileName(role, id), authority),
    loadJournal: async () => journal,
    saveJournal: async (rotation) => {
      journal = rotation;
    },
    async createJournal(rotation) {
      if (journal !== undefined) return false;
      journal = rotation;
      return true;
    },
    async forgetOthers(rotation) {
      const { roots, issuing } = heldAuthorities(rotation);
      const kept = [...roots.map((id) => fileName('root', id)), ...issuing.map((id) => fileName('issuing', id))];
      for (const name of [...held.keys()]) if (!kept.includes(name)) held.delete(name);
    },
    forget: async (role, id) => void held.delete(fileName(role, id)),
  };
}

function fileName(role: AuthorityRole, id: AuthorityId): string {
  return `${role}-${id.slice(0, 16)}.pem`;
}

function format({ certificateDer, key }: Authority): string {
  return toPem('CERTIFICATE', certificateDer) + key.export({ format: 'pem', type: 'pkcs8' });
}

function parseAuthority(text: string, path: string): Authority {
  try {
    const certificate = new X509Certificate(text);
    const key = createPrivateKey(text);
    if (certificate.checkPrivateKey(key)) return { certificateDer: new Uint8Array(certificate.raw), key };
  } catch (cause) {
    throw unusable(path, 'it is not a certificate and its key in PEM', cause);
  }
  throw unusable(path, 'its key is not that of its certificate');
}

function parseJournal(text: string, path: string): Rotation {
  try {
    return rotationSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw unusable(path, 'it does not hold the state of a rotation', cause);
  }
}

function unusable(path: string, flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2143', `${path} can not be used: ${flaw}.`, { detail: { path }, cause });
}
