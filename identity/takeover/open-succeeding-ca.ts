import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import { hasAuthorityFiles, removeAuthorityFiles } from '../backends/authority-files.ts';
import { type CaConfig, labelOf, placeOf } from '../backends/ca-config.ts';
import { openEmbeddedCa } from '../backends/embedded.ts';
import { removeIssuingCaFile } from '../backends/issuing-ca-file.ts';
import { forgetStoredJournal } from '../backends/stored-journal.ts';
import { openVaultIntermediate } from '../backends/vault-intermediate.ts';
import { openVaultLeaf } from '../backends/vault-leaf.ts';
import { forgetPinnedRoots, readRootsFile } from '../backends/vault-roots.ts';
import type { CaBackend } from '../ca-backend.ts';
import type { CheckedConfig } from '../identity-config.ts';
import type { ProcessRole } from '../process-role.ts';
import { lostCa } from './lost-ca.ts';
import { SucceedingCa } from './succeeding-ca.ts';
import { type CaSource, openTakeoverJournal, type TakeoverJournal, type TakeoverRecord } from './takeover-record.ts';

const maxRaces = 16;

/** Where CAs are opened. */
interface Surroundings {
  readonly config: Pick<CheckedConfig, 'backend' | 'dataDir' | 'trustDomain'>;
  readonly context: ProcessContext;
  readonly store: Store;
  /** Among the processes that share the store; absent: it has one of its own. */
  readonly role?: ProcessRole | undefined;
}

/** What the record and the configuration come to together. */
type Opened = Pick<ConstructorParameters<typeof SucceedingCa>[0], 'record' | 'signer' | 'next'>;

/**
 * Opens the CA of the mesh. The first one is the configured one. When the configuration names another later, both are opened: the one in use signs on, and
 * a rotation to the other is asked for (rotation-driver.ts begins it), or goes on where it stood.
 *
 * @throws MeshError SLV-2182 when a takeover by a third is under way, SLV-2185 when other processes run with another CA; what the configured CA says when it
 *   can't be opened and nothing was begun
 */
export async function openSucceedingCa(surroundings: Surroundings): Promise<SucceedingCa> {
  const { config, context, store } = surroundings;
  const journal = openTakeoverJournal(store);
  const opened = await openOnce(journal, surroundings);
  const clear = (left: CaSource, kept: CaSource) => clearAfter(left, kept, surroundings);
  return new SucceedingCa({ ...opened, journal, clear, trustDomain: config.trustDomain, context });
}

/** Again, where processes that start together write the record at the same moment. */
async function openOnce(journal: TakeoverJournal, around: Surroundings): Promise<Opened> {
  for (let race = 0; race < maxRaces; race++) {
    const stored = await journal.load();
    const before = stored ?? (await firstRecord(around));
    if (
      around.role === 'member' &&
      (before.state !== 'settled' || !(await isSame(around.config.backend, before.active)))
    )
      throw otherCa(before);
    const opened =
      before.state === 'settled'
        ? await openSettled(before, journal, around, stored !== undefined)
        : await openUnderWay(before, journal, around);
    if (opened !== undefined) return opened;
  }
  throw new MeshError('SLV-3505', 'Which CA is in use is being written by many at once.');
}

/** SLV-2185: what is in use is not what this process is told. */
export function otherCa(record: TakeoverRecord): MeshError {
  const inUse =
    record.state === 'settled'
      ? `The CA of this mesh is ${labelOf(record.active.config)}`
      : `A takeover of the CA by ${labelOf(record.to.config)} is ${record.rotation.state}`;
  return new MeshError('SLV-2185', `${inUse}; this process is started with another, and does not run alone.`);
}

type Settled = Extract<TakeoverRecord, { state: 'settled' }>;
type UnderWay = Extract<TakeoverRecord, { state: 'under-way' }>;

/** Of a mesh that has none: what is configured, but an embedded CA that is there already is the one in use. */
async function firstRecord({ config: { backend, dataDir } }: Pick<Surroundings, 'config'>): Promise<Settled> {
  const isEmbedded = backend.kind === 'embedded' || (dataDir !== undefined && (await hasAuthorityFiles(dataDir)));
  const active: CaSource = { config: isEmbedded ? { kind: 'embedded' } : backend, roots: [] };
  return { state: 'settled', active, pair: undefined };
}

/** @returns undefined when another process has written since */
async function openSettled(
  before: Settled,
  journal: TakeoverJournal,
  around: Surroundings,
  isStored: boolean,
): Promise<Opened | undefined> {
  const { backend } = around.config;
  const { active } = before;
  if (await isSame(backend, active)) {
    const signer = await openCa(backend, active.roots, around);
    const record = { ...before, active: sourceOf(backend, signer) };
    // Where there are other processes, they are to know which CA the mesh has.
    const known = isStored || around.role === undefined ? before : undefined;
    if (await savedIfOther(journal, known, record)) return { record, signer, next: undefined };
    await signer.close();
    return undefined;
  }
  // Of an embedded CA that was given up before. Its keys may have been anywhere: it is made anew.
  if (backend.kind === 'embedded') await forgetEmbeddedCa(around);
  const configured = await openCa(backend, [], around);
  const next = { backend: configured, source: { config: backend, roots: configured.roots } };
  if (areSame(configured.roots, active.roots)) {
    const labels = { from: labelOf(active.config), to: labelOf(backend) };
    around.context.log.info(labels, 'another CA with the same roots: there is nothing to rotate');
    const record = { ...before, active: next.source };
    await save(journal, undefined, record);
    return { record, signer: configured, next: undefined };
  }
  const signer = await openKnown(active, around);
  await save(journal, undefined, before);
  return { record: before, signer, next };
}

async function openUnderWay(before: UnderWay, journal: TakeoverJournal, around: Surroundings): Promise<Opened> {
  const { backend } = around.config;
  const { from, to, rotation } = before;
  if (await isSame(backend, to)) {
    const record = { ...before, to: { ...to, config: backend } };
    await save(journal, before, record);
    const taking = await openKnown(record.to, around);
    if (rotation.state === 'activated') return { record, signer: taking, next: undefined };
    return { record, signer: await openKnown(from, around), next: { backend: taking, source: record.to } };
  }
  if (rotation.state !== 'activated' && (await isSame(backend, from))) {
    const active = { ...from, config: backend };
    const signer = await openCa(backend, backend.kind === 'embedded' ? [] : from.roots, around);
    const record: Settled = { state: 'settled', active, pair: signer.rotating ? undefined : rotation.active };
    await save(journal, undefined, record);
    around.context.log.warn({ to: labelOf(to.config) }, 'the takeover by another CA is given up, as configured');
    await clearAfter(to, from, around);
    return { record, signer, next: undefined };
  }
  const back = rotation.state === 'activated' ? '' : `, or those of ${labelOf(from.config)} to give it up`;
  throw new MeshError(
    'SLV-2182',
    `A takeover by ${labelOf(to.config)} is ${rotation.state}: start with its options to finish it${back}.`,
  );
}

/** @param roots where they are known; none: as the CA says */
async function openCa(
  ca: CaConfig,
  roots: readonly Uint8Array[],
  { config: { dataDir, trustDomain }, context, store, role }: Surroundings,
): Promise<CaBackend> {
  const known = roots.length === 0 ? {} : { roots };
  switch (ca.kind) {
    case 'embedded':
      return openEmbeddedCa({ dataDir, trustDomain, journalIn: role === undefined ? undefined : store }, context);
    case 'vault-leaf':
      return openVaultLeaf({ ...ca, ...known }, context, store);
    case 'vault-intermediate':
      return openVaultIntermediate({ ...ca, ...known }, { dataDir, trustDomain }, context, store);
  }
}

/** One whose roots are known; when it can't be opened, the takeover goes on without it as far as it can. */
async function openKnown({ config, roots }: CaSource, around: Surroundings): Promise<CaBackend> {
  try {
    return await openCa(config, roots, around);
  } catch (error) {
    if (!(error instanceof MeshError) || roots.length === 0) throw error;
    around.context.log.error({ err: error, ca: labelOf(config) }, 'a CA can not be opened; its roots stay trusted');
    return lostCa(config.kind, roots, error, around.context.clock);
  }
}

/** Whether a configuration means a CA that is known: the same place, and no other roots named for it. @throws MeshError SLV-1005 */
export async function isSame(config: CaConfig, known: CaSource): Promise<boolean> {
  if (placeOf(config) !== placeOf(known.config)) return false;
  if (config.kind === 'embedded' || config.rootsFile === undefined || known.roots.length === 0) return true;
  return areSame(await readRootsFile(config.rootsFile), known.roots);
}

/** As sets. */
function areSame(some: readonly Uint8Array[], others: readonly Uint8Array[]): boolean {
  const [one, other] = [some, others].map((ders) => new Set(ders.map((der) => Buffer.from(der).toString('base64'))));
  return one !== undefined && other !== undefined && one.size === other.size && one.isSubsetOf(other);
}

function sourceOf(config: CaConfig, { roots, rotating }: CaBackend): CaSource {
  return { config, roots: rotating === undefined ? roots : [] };
}

/** @throws MeshError SLV-2185 when another process has written since: with one CA taking over from another there is one process */
async function save(
  journal: TakeoverJournal,
  before: TakeoverRecord | undefined,
  record: TakeoverRecord,
): Promise<void> {
  if (!(await savedIfOther(journal, before, record))) throw otherCa(record);
}

/** @returns false when another process has written since */
async function savedIfOther(
  journal: TakeoverJournal,
  before: TakeoverRecord | undefined,
  record: TakeoverRecord,
): Promise<boolean> {
  return JSON.stringify(before) === JSON.stringify(record) || journal.save(record);
}

/** Keys go with the CA that they were for; pins too, so that it is met anew should it ever come back. */
async function clearAfter(left: CaSource, kept: CaSource, around: Surroundings): Promise<void> {
  const { config, store } = around;
  const { dataDir } = config;
  const place = placeOf(left.config);
  if (left.config.kind === 'embedded') return forgetEmbeddedCa(around);
  if (place !== placeOf(kept.config)) await forgetPinnedRoots(store, place);
  if (left.config.kind === 'vault-intermediate' && dataDir !== undefined)
    await removeIssuingCaFile(dataDir, { place, roots: left.roots });
}

async function forgetEmbeddedCa({ config: { dataDir }, store, role }: Surroundings): Promise<void> {
  if (role !== undefined) await forgetStoredJournal(store);
  if (dataDir !== undefined) await removeAuthorityFiles(dataDir);
}
