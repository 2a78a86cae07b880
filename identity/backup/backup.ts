import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { Store } from '#store/contract.ts';
import { type Snapshot, takeSnapshot } from '#store/snapshot.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { hasAuthorityFiles, openAuthorityFiles } from '../backends/authority-files.ts';
import { loadStoredJournal, requireKeysOf, storedJournalEntry, storedJournalKey } from '../backends/stored-journal.ts';
import { heldAuthorities } from '../rotation/rotation.ts';
import { maxSealedBytes, seal, unseal } from './sealed-file.ts';

/** What a backup holds, for people. */
export interface BackupSummary {
  readonly createdAt: string;
  /** Of the roots in `ca.pem`: `sha256:HEX`, what `--ca-pin` takes. */
  readonly pins: readonly string[];
  readonly nodes: number;
  readonly revocations: number;
}

const storeFile = 'identity.db';
const maxFileBytes = 16 * 1024 * 1024;
/** The audit log is history, not state: it is shipped elsewhere, and a new one begins. */
const leftOut = /^(?:audit.*|identity\.db.*|.*\.tmp)$/;
const entryName = /^(?:ca\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const joinTokens = 'identity/join-tokens/';

const contentSchema = z.strictObject({
  createdAt: z.iso.datetime(),
  files: z.array(
    z.strictObject({
      name: z.string().regex(entryName),
      mode: z.union([z.literal(0o600), z.literal(0o644)]),
      base64: z.base64(),
    }),
  ),
  records: z.array(z.strictObject({ key: z.string().startsWith('identity/'), base64: z.base64() })),
});
type Content = z.infer<typeof contentSchema>;

/**
 * Writes everything that makes this identity service itself into one sealed file (0600), and reads it back: CA keys and journal, own SVID, keys of JWT-SVIDs,
 * operator token, and of the store nodes, revocations, join tokens. A service with a store of its own must be stopped, which nobody notices for hours: so it
 * is one moment's state. One that shares its store may run: its records are as of one revision, and the keys that they name are in files that never change.
 * Either way no key goes over a wire.
 *
 * @param options.shared the store that several processes share; absent: the one in the data directory
 * @throws MeshError SLV-3508 while the service runs, SLV-1005 when there is nothing, or the file is there already or can't be written, SLV-2188 when the keys
 *   of the CA are not in this data directory
 */
export async function backUp(
  options: { dataDir: string; out: string; passphrase: string; shared?: Store | undefined },
  context: ProcessContext,
): Promise<BackupSummary> {
  const { dataDir, out, passphrase, shared } = options;
  if (existsSync(out)) throw new MeshError('SLV-1005', `${out} is there already.`, { detail: { path: out } });
  if (shared !== undefined) return sealAll(shared, options, context);
  requireStoreFile(dataDir);
  // Held open while the files are read: its lock keeps the service from starting.
  await using store = await openSqliteStore({ path: join(dataDir, storeFile), clock: context.clock, log: context.log });
  return await sealAll(store, { dataDir, out, passphrase }, context);
}

function requireStoreFile(dataDir: string): void {
  if (!existsSync(join(dataDir, storeFile)))
    throw new MeshError('SLV-1005', `${dataDir} is no data directory of an identity service: it has no ${storeFile}.`);
}

async function sealAll(
  store: Store,
  { dataDir, out, passphrase }: { dataDir: string; out: string; passphrase: string },
  context: ProcessContext,
): Promise<BackupSummary> {
  const kvs = (await store.range('identity/')).kvs.filter(({ lease }) => lease === undefined);
  const rotation = await loadStoredJournal(store);
  if (rotation !== undefined) await requireKeysOf(rotation, await openAuthorityFiles(dataDir), dataDir);
  const content: Content = {
    createdAt: new Date(context.clock()).toISOString(),
    files: await readFiles(dataDir),
    records: kvs.map(({ key, value }) => ({ key, base64: Buffer.from(value).toString('base64') })),
  };
  await writeFileAtomic(out, await seal(Buffer.from(JSON.stringify(content)), passphrase));
  return summary(await readBackup(out, passphrase));
}

/**
 * Makes a data directory of a backup. Appears whole or not at all; is checked before it does. Join tokens that were not redeemed when the backup was made are
 * left out: they may have been since. The next trust bundle gets a sequence above every earlier one (trust-publication.ts).
 *
 * @param options.into makes the store of the records elsewhere, for several processes to share; absent: in the data directory
 * @throws MeshError SLV-2186 for another passphrase or a damaged file, SLV-2187 when `dataDir` holds anything, SLV-2143 when the CA inside is not whole, SLV-1005
 */
export async function restore(
  options: { dataDir: string; from: string; passphrase: string; into?: (snapshot: Snapshot) => Promise<void> },
  context: ProcessContext,
): Promise<BackupSummary> {
  const { dataDir, from, passphrase, into } = options;
  const content = await readBackup(from, passphrase);
  const there = await readdir(dataDir).catch(() => []);
  if (there.length > 0)
    throw new MeshError('SLV-2187', `${dataDir} is not empty: it holds ${there.slice(0, 3).join(', ')}.`);
  await ensurePrivateDirectory(dirname(dataDir));
  const growing = `${dataDir}.restoring`;
  await mkdir(growing, { mode: 0o700 }).catch((cause: unknown) => {
    throw new MeshError('SLV-1005', `Cannot create ${growing}; when an earlier restore was interrupted, remove it.`, {
      cause,
    });
  });
  try {
    await mkdir(join(growing, 'ca'), { mode: 0o700 });
    for (const { name, mode, base64 } of content.files)
      await writeFileAtomic(join(growing, name), Buffer.from(base64, 'base64'), mode);
    // Where the store has it, the one in the file is a copy, which may be behind.
    const journal = content.records.find(({ key }) => key === storedJournalKey);
    if (journal !== undefined)
      await writeFileAtomic(join(growing, 'ca', 'journal.json'), Buffer.from(journal.base64, 'base64'));
    await requireWholeCa(growing);
    const entries = entriesOf(content);
    if (into === undefined) await writeRecords(growing, entries, context);
    else await into({ service: 'identity', createdAtMs: context.clock(), revision: 1, entries });
    if (existsSync(dataDir)) await rmdir(dataDir);
    await rename(growing, dataDir);
  } catch (error) {
    await rm(growing, { recursive: true, force: true });
    throw error;
  }
  return summary(content);
}

/**
 * Reads all that a stopped service with a store of its own holds, for a store that several processes are to share. The files stay as they are.
 *
 * @param use makes that store; nothing starts meanwhile
 * @throws MeshError SLV-3508 while the service runs, SLV-1005 when there is nothing
 */
export async function moveRecords(
  dataDir: string,
  context: ProcessContext,
  use: (snapshot: Snapshot) => Promise<void>,
): Promise<Snapshot> {
  requireStoreFile(dataDir);
  await using store = await openSqliteStore({ path: join(dataDir, storeFile), clock: context.clock, log: context.log });
  const snapshot = await takeSnapshot(store, 'identity', context.clock());
  const rotation = (await hasAuthorityFiles(dataDir))
    ? await (await openAuthorityFiles(dataDir)).loadJournal()
    : undefined;
  const entries = snapshot.entries.filter(({ key }) => key !== storedJournalKey);
  const whole = rotation === undefined ? entries : [...entries, storedJournalEntry(rotation)];
  const moved = { ...snapshot, entries: whole };
  await use(moved);
  return moved;
}

async function readFiles(dataDir: string): Promise<Content['files']> {
  const names = async (folder: string, prefix: string): Promise<string[]> => {
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    return entries.filter((entry) => entry.isFile() && !leftOut.test(entry.name)).map(({ name }) => prefix + name);
  };
  const all = [...(await names(dataDir, '')), ...(await names(join(dataDir, 'ca'), 'ca/'))].sort();
  return Promise.all(
    all.map(async (name) => {
      const content = await readFileBounded(join(dataDir, name), maxFileBytes);
      return {
        name,
        mode: name === 'ca.pem' ? 0o644 : 0o600,
        base64: (content ?? Buffer.of()).toString('base64'),
      } as const;
    }),
  );
}

async function readBackup(path: string, passphrase: string): Promise<Content> {
  const sealed = await readFileBounded(path, Math.min((await size(path)) + 1, maxSealedBytes));
  if (sealed === undefined) throw new MeshError('SLV-1005', `There is no file ${path}.`, { detail: { path } });
  const content = await unseal(sealed, passphrase);
  try {
    return contentSchema.parse(JSON.parse(content.toString('utf8')));
  } catch (cause) {
    throw new MeshError('SLV-2186', `${path} was written by another release.`, { detail: { path }, cause });
  }
}

function entriesOf({ records }: Content): Snapshot['entries'] {
  return records.flatMap(({ key, base64 }) => {
    const value = Buffer.from(base64, 'base64');
    if (key.startsWith(joinTokens) && !isRedeemed(value)) return [];
    return [{ key, value: key === 'identity/trust' ? forgetful(value) : value }];
  });
}

async function writeRecords(folder: string, entries: Snapshot['entries'], context: ProcessContext): Promise<void> {
  await using store = await openSqliteStore({ path: join(folder, storeFile), clock: context.clock, log: context.log });
  for (const { key, value } of entries) await store.put(key, value);
}

function isRedeemed(token: Buffer): boolean {
  return 'redeemed' in JSON.parse(token.toString('utf8'));
}

/** The sequence with the digest of nothing, so that the next bundle is a new one: nodes may hold later ones than the backup knows of. */
function forgetful(published: Buffer): Buffer {
  return Buffer.from(JSON.stringify({ ...JSON.parse(published.toString('utf8')), digest: 'restored' }));
}

/** Every key that the journal names is there, and fits its certificate. Nothing to see with Vault, which holds the keys. */
async function requireWholeCa(folder: string): Promise<void> {
  const files = await openAuthorityFiles(folder);
  const journal = await files.loadJournal();
  if (journal === undefined) return;
  const { roots, issuing } = heldAuthorities(journal);
  for (const id of roots) await files.load('root', id);
  for (const id of issuing) await files.load('issuing', id);
}

function summary({ createdAt, files, records }: Content): BackupSummary {
  const roots = files.find(({ name }) => name === 'ca.pem');
  const count = (prefix: string): number => records.filter(({ key }) => key.startsWith(prefix)).length;
  return {
    createdAt,
    pins: certificatesOfPem(Buffer.from(roots?.base64 ?? '', 'base64').toString('utf8')).map(
      (der) => `sha256:${spkiPin(der)}`,
    ),
    nodes: count('identity/nodes/'),
    revocations: count('identity/revocations/'),
  };
}

const size = (path: string): Promise<number> =>
  stat(path).then(
    (found) => found.size,
    () => 0,
  );
