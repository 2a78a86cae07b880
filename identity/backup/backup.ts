import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { openAuthorityFiles } from '../backends/authority-files.ts';
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
 * operator token, and of the store nodes, revocations, join tokens. The service must be stopped, which nobody notices for hours: so it is one moment's state,
 * and no key goes over a wire.
 *
 * @throws MeshError SLV-3508 while the service runs, SLV-1005 when there is nothing, or the file is there already or can't be written
 */
export async function backUp(
  options: { dataDir: string; out: string; passphrase: string },
  context: ProcessContext,
): Promise<BackupSummary> {
  const { dataDir, out, passphrase } = options;
  if (!existsSync(join(dataDir, storeFile)))
    throw new MeshError('SLV-1005', `${dataDir} is no data directory of an identity service: it has no ${storeFile}.`);
  if (existsSync(out)) throw new MeshError('SLV-1005', `${out} is there already.`, { detail: { path: out } });
  // Held open while the files are read: its lock keeps the service from starting.
  await using store = await openSqliteStore({ path: join(dataDir, storeFile), clock: context.clock, log: context.log });
  const { kvs } = await store.range('identity/');
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
 * @throws MeshError SLV-2186 for another passphrase or a damaged file, SLV-2187 when `dataDir` holds anything, SLV-2143 when the CA inside is not whole, SLV-1005
 */
export async function restore(
  options: { dataDir: string; from: string; passphrase: string },
  context: ProcessContext,
): Promise<BackupSummary> {
  const { dataDir, from, passphrase } = options;
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
    await writeRecords(growing, content, context);
    await requireWholeCa(growing);
    if (existsSync(dataDir)) await rmdir(dataDir);
    await rename(growing, dataDir);
  } catch (error) {
    await rm(growing, { recursive: true, force: true });
    throw error;
  }
  return summary(content);
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

async function writeRecords(folder: string, { records }: Content, context: ProcessContext): Promise<void> {
  await using store = await openSqliteStore({ path: join(folder, storeFile), clock: context.clock, log: context.log });
  for (const { key, base64 } of records) {
    const value = Buffer.from(base64, 'base64');
    if (key.startsWith(joinTokens) && !isRedeemed(value)) continue;
    await store.put(key, key === 'identity/trust' ? forgetful(value) : value);
  }
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
