import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { toPem } from '#policies/der-writer.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { CertifiedAuthority } from './verify-issuing-ca.ts';

const maxFileBytes = 131_072;

/**
 * Where the issuing CA that Vault certified is kept: `<dataDir>/ca/vault-issuing-<whose>.pem` (0600), certificate, what lies above it, and key in one file, so that
 * no crash can part them. Without a data directory, in memory.
 */
export interface IssuingCaFile {
  /** @returns undefined when there is none. Throws SLV-2143 when the file holds something else, SLV-1005 when it can't be read */
  load(): Promise<CertifiedAuthority | undefined>;
  /** Replaces it, durable when it resolves. Throws SLV-1005. */
  save(authority: CertifiedAuthority): Promise<void>;
}

/** Whose file it is: two Vaults, or two roots of one, have two files, for one may take over from the other. */
export interface IssuingCaFileOwner {
  /** `placeOf` the configuration. */
  readonly place: string;
  /** The roots that are trusted for it, DER. */
  readonly roots: readonly Uint8Array[];
}

/** Opens it; throws SLV-1005. */
export async function openIssuingCaFile(
  dataDir: string | undefined,
  owner: IssuingCaFileOwner,
): Promise<IssuingCaFile> {
  if (dataDir === undefined) {
    let held: CertifiedAuthority | undefined;
    return {
      load: async () => held,
      save: async (authority) => {
        held = authority;
      },
    };
  }
  const folder = join(dataDir, 'ca');
  await ensurePrivateDirectory(folder);
  const path = join(folder, nameOf(owner));
  return {
    async load() {
      const text = await readFileBounded(path, maxFileBytes);
      return text === undefined ? undefined : parse(text.toString('utf8'), path);
    },
    save: (authority) => writeFileAtomic(path, format(authority)),
  };
}

/** Removes the file, if there is one: its CA signs no more. */
export async function removeIssuingCaFile(dataDir: string, owner: IssuingCaFileOwner): Promise<void> {
  await rm(join(dataDir, 'ca', nameOf(owner)), { force: true });
}

function nameOf({ place, roots }: IssuingCaFileOwner): string {
  const hash = createHash('sha256').update(place);
  for (const root of roots) hash.update(root);
  return `vault-issuing-${hash.digest('hex').slice(0, 16)}.pem`;
}

function format({ certificateDer, above, key }: CertifiedAuthority): string {
  const certificates = [certificateDer, ...above].map((der) => toPem('CERTIFICATE', der)).join('');
  return certificates + key.export({ format: 'pem', type: 'pkcs8' });
}

function parse(text: string, path: string): CertifiedAuthority {
  try {
    const [certificateDer, ...above] = certificatesOfPem(text);
    const key = createPrivateKey(text);
    if (certificateDer !== undefined && new X509Certificate(certificateDer).checkPrivateKey(key))
      return { certificateDer, key, above };
  } catch (cause) {
    throw unusable(path, 'it is not certificates and the key of the first in PEM', cause);
  }
  throw unusable(path, 'its key is not that of its certificate');
}

function unusable(path: string, flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2143', `${path} can not be used: ${flaw}.`, { detail: { path }, cause });
}
