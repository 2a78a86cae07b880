import { createHash } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { vaultFailureKind } from './failure.ts';
import { findSecretFile } from './secret-file.ts';
import { VaultError, type VaultTransport } from './transport.ts';

/**
 * A secret id that was delivered wrapped: the file holds a one-time token, and whoever opens it first has the secret. So that a thief on the way is
 * noticed, the token must have been made by the AppRole itself (a thief could wrap the secret anew), and must not have been opened before.
 * What was opened is kept, with the hash of its token: a restart is no alarm, a fresh token in the file counts.
 */

const maxFileBytes = 8_192;
const keptSchema = z.object({ wrapping: z.string().length(64), secretId: z.string().min(1).max(4_096) });
const lookupSchema = z.looseObject({ creation_path: z.string().max(1_024) });
const unwrappedSchema = z.looseObject({ secret_id: z.string().min(1).max(4_096) });

type Kept = z.infer<typeof keptSchema>;

/** Where things are. */
export interface WrappedSecretIdFiles {
  /** Mount of the AppRole method. */
  readonly mount: string;
  /** Holds the wrapping token. */
  readonly wrappedSecretIdFile: string;
  /** Where the opened secret id is kept (0600). Absent: in memory, and a restart needs a fresh token. */
  readonly keptSecretIdFile?: string;
}

/** Opens wrapped secret ids. */
export class WrappedSecretId {
  readonly #files: WrappedSecretIdFiles;
  #kept: Kept | undefined;

  constructor(files: WrappedSecretIdFiles) {
    this.#files = files;
  }

  /**
   * The secret id: kept, or opened now when the file holds a token that was not seen before.
   * @throws MeshError SLV-2145 (tampering), SLV-1005 (files); VaultError when Vault can't be asked
   */
  async read(transport: VaultTransport): Promise<string> {
    const { wrappedSecretIdFile: path, keptSecretIdFile } = this.#files;
    this.#kept ??= await this.#load();
    const token = await findSecretFile(path);
    if (token === undefined && this.#kept !== undefined) return this.#kept.secretId;
    if (token === undefined) throw new MeshError('SLV-1005', `${path} does not exist.`, { detail: { path } });
    const wrapping = createHash('sha256').update(token).digest('hex');
    if (this.#kept?.wrapping === wrapping) return this.#kept.secretId;
    await this.#requireOwnOrigin(transport, token);
    const kept = { wrapping, secretId: await this.#open(transport, token) };
    this.#kept = kept;
    if (keptSecretIdFile !== undefined) await writeFileAtomic(keptSecretIdFile, JSON.stringify(kept));
    return kept.secretId;
  }

  async #load(): Promise<Kept | undefined> {
    const path = this.#files.keptSecretIdFile;
    if (path === undefined) return undefined;
    const content = await readFileBounded(path, maxFileBytes);
    if (content === undefined) return undefined;
    try {
      return keptSchema.parse(JSON.parse(content.toString('utf8')));
    } catch (cause) {
      throw new MeshError('SLV-1005', `${path} does not hold an opened secret id.`, { detail: { path }, cause });
    }
  }

  async #requireOwnOrigin(transport: VaultTransport, token: string): Promise<void> {
    const reply = await this.#alarmIfGone(transport.write('sys/wrapping/lookup', { token }, { secrets: [token] }));
    const found = lookupSchema.safeParse(reply.data);
    if (!found.success) throw new VaultError('the answer to sys/wrapping/lookup is not of the known form');
    const [prefix, suffix] = [`auth/${this.#files.mount}/role/`, '/secret-id'];
    const { creation_path: made } = found.data;
    const role = made.startsWith(prefix) && made.endsWith(suffix) ? made.slice(prefix.length, -suffix.length) : '';
    if (!/^[^/]+$/.test(role)) {
      throw tampered(`was made by ${JSON.stringify(made.slice(0, 200))}, not by ${prefix}…${suffix}`);
    }
  }

  async #open(transport: VaultTransport, token: string): Promise<string> {
    const reply = await this.#alarmIfGone(transport.write('sys/wrapping/unwrap', {}, { token }));
    const opened = unwrappedSchema.safeParse(reply.data);
    if (!opened.success) throw tampered('held something else than a secret id');
    return opened.data.secret_id;
  }

  /** Vault answers 400 or 403 for a token that was opened, has expired or never was: it does not tell them apart. */
  async #alarmIfGone<T>(asked: Promise<T>): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      const kind = error instanceof VaultError ? vaultFailureKind(error) : 'transient';
      if (kind === 'permanent' || kind === 'denied') throw tampered('is opened already, or has expired');
      throw error;
    }
  }
}

function tampered(how: string): MeshError {
  return new MeshError('SLV-2145', `The wrapping token of the secret id ${how}.`);
}
