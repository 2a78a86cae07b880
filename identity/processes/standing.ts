import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Store } from '#store/contract.ts';
import { hasAuthorityFiles, openAuthorityFiles } from '../backends/authority-files.ts';
import { loadStoredJournal, requireKeysOf } from '../backends/stored-journal.ts';
import type { CheckedConfig } from '../identity-config.ts';
import type { ProcessRole } from '../process-role.ts';
import { isSame, otherCa } from '../takeover/open-succeeding-ca.ts';
import { openTakeoverJournal } from '../takeover/takeover-record.ts';

/** What a process is to be, by its configuration and by which CA the mesh has. */
export interface Standing {
  readonly role: ProcessRole;
  /** What to do while others are in the way: an embedded CA is had in turn; who is to change the CA has to be alone. */
  readonly otherwise: 'stand-by' | 'refuse';
  /** Which CA the mesh has, where that is another than the one configured: what to say when others are in the way. */
  readonly refusal: MeshError;
  /** Whether the CA that the mesh has is the one configured, and its keys are here. */
  readonly isOurs: boolean;
}

/**
 * Reads what a process is to be.
 * @throws MeshError SLV-2188 when the mesh has an embedded CA whose keys are not in the data directory
 */
export async function standingOf(config: Pick<CheckedConfig, 'backend' | 'dataDir'>, store: Store): Promise<Standing> {
  const { backend, dataDir } = config;
  const record = await openTakeoverJournal(store).load();
  if (record === undefined) {
    const refusal = new MeshError('SLV-2185', 'Other processes of this mesh run, with a CA of another kind.');
    if (backend.kind === 'embedded') {
      if ((await loadStoredJournal(store)) !== undefined && dataDir !== undefined) await requireKeys(dataDir, store);
      return { role: 'lead', otherwise: 'stand-by', refusal, isOurs: false };
    }
    // Vault takes over from the CA that is in the data directory.
    const isTakeover = dataDir !== undefined && (await hasAuthorityFiles(dataDir));
    return { role: isTakeover ? 'lead' : 'member', otherwise: 'refuse', refusal, isOurs: false };
  }
  const refusal = otherCa(record);
  if (record.state === 'under-way' || !(await isSame(backend, record.active)))
    return { role: 'lead', otherwise: 'refuse', refusal, isOurs: false };
  if (backend.kind !== 'embedded') return { role: 'member', otherwise: 'refuse', refusal, isOurs: true };
  if (dataDir !== undefined) await requireKeys(dataDir, store);
  return { role: 'lead', otherwise: 'stand-by', refusal, isOurs: true };
}

/** A second root would be made by a process that has not the keys of the first. */
async function requireKeys(dataDir: string, store: Store): Promise<void> {
  const files = await openAuthorityFiles(dataDir);
  const rotation = (await loadStoredJournal(store)) ?? (await files.loadJournal());
  if (rotation === undefined)
    throw new MeshError('SLV-2188', `This mesh has an embedded CA, and there is none in ${dataDir}/ca.`);
  await requireKeysOf(rotation, files, dataDir);
}
