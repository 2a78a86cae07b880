import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import type { CheckedConfig } from '../identity-config.ts';
import type { ProcessRole } from '../process-role.ts';
import { Place, placeTtlMs } from './place.ts';
import { leadKey, memberPrefix, seenProcess, standbyPrefix, writtenProcess } from './process-record.ts';
import { type Standing, standingOf } from './standing.ts';

const lookEveryMs = 300;
const lookAnewMs = 5_000;
const troubleMs = 3_000;
/** A process that was killed is in the way until its lease ends, and etcd gives leases their whole time again when it has a new leader. */
const longestLeaseMs = 3 * placeTtlMs;

/** A process that may serve, until it loses its place. */
export interface Admitted {
  readonly role: ProcessRole;
  readonly place: Place;
}

/** Who asks to be let in. */
export interface AdmissionRequest {
  readonly config: Pick<CheckedConfig, 'backend' | 'dataDir'>;
  readonly store: Store;
  /** For others to read: the host. */
  readonly name: string;
  readonly context: Pick<ProcessContext, 'clock' | 'log'>;
  /** How long others may be in the way of who can not stand by; absent: until the lease of one that was killed has ended. */
  readonly patienceMs?: number | undefined;
  /** Called when it waits, once. */
  readonly onStandby: (inCharge: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Lets a process in among those that share a store: beside others where each asks Vault, alone where there is an embedded CA, which is had in turn, or
 * where one CA takes over from another.
 *
 * @throws MeshError SLV-2185 when others run with another CA, SLV-2188 when the keys of the embedded CA are not here; the reason of the signal
 */
export async function admit(request: AdmissionRequest): Promise<Admitted> {
  const { config, store, signal, context } = request;
  const startedMs = performance.now();
  let isWaiting = false;
  /** That it stands by, for the others to see. */
  let notice: Place | undefined;
  try {
    let wasOurs = false;
    // Who had all keys and stood by may yet be given the ones that the active process has made since; and a store may come back.
    const forgiving = (error: unknown): undefined => {
      if (!wasOurs || !isMeshError(error)) throw error;
      context.log.error({ err: error }, 'this process could not take over; trying again');
    };
    for (;;) {
      signal.throwIfAborted();
      const standing = await standingOf(config, store).catch(forgiving);
      wasOurs ||= standing?.isOurs === true;
      const inTheWay = standing === undefined ? undefined : await take(standing, request).catch(forgiving);
      if (typeof inTheWay === 'object') return inTheWay;
      if (standing?.otherwise === 'refuse' && performance.now() - startedMs > (request.patienceMs ?? longestLeaseMs))
        throw new MeshError(
          standing.refusal.code,
          `${standing.refusal.message} In the way: ${inTheWay ?? 'the store'}.`,
        );
      if (standing?.otherwise === 'stand-by' && inTheWay !== undefined) {
        // First: who says that it stands by is to be found.
        if (notice === undefined || notice.lost.aborted) notice = await giveNotice(request);
        if (!isWaiting) {
          isWaiting = true;
          context.log.info({ inCharge: inTheWay }, 'standing by');
          request.onStandby(inTheWay);
        }
      }
      if (inTheWay === undefined) await pause(troubleMs, signal);
      else await whileTaken(request).catch(forgiving);
    }
  } finally {
    await notice?.release();
  }
}

/** Nothing depends on it: a store that takes none now is asked again. */
async function giveNotice({ store, name, context }: AdmissionRequest): Promise<Place | undefined> {
  const keyOf = (lease: string): string => standbyPrefix + lease;
  try {
    return await Place.take(store, { keyOf, value: writtenProcess(name, context.clock()), unless: [] }, context);
  } catch (err) {
    if (!isMeshError(err)) throw err;
    context.log.warn({ err }, 'others do not see that this process stands by; trying again');
    return undefined;
  }
}

/** Until nobody is in charge, or it is time to look at everything anew: which CA the mesh has, and whether its keys are here. */
async function whileTaken({ store, signal, patienceMs = lookAnewMs }: AdmissionRequest): Promise<void> {
  const untilMs = performance.now() + Math.min(patienceMs, lookAnewMs);
  do await pause(lookEveryMs, signal);
  while (!signal.aborted && performance.now() < untilMs && (await store.get(leadKey)) !== undefined);
}

/** @returns the place, or who is in the way */
async function take(standing: Standing, request: AdmissionRequest): Promise<Admitted | string> {
  const { store, context, config, name } = request;
  const { role } = standing;
  const lead = await store.get(leadKey);
  if (lead !== undefined) return seenProcess(lead).name;
  const place = await Place.take(
    store,
    {
      keyOf: (lease) => (role === 'lead' ? leadKey : memberPrefix + lease),
      value: writtenProcess(name, context.clock()),
      unless: role === 'lead' ? [] : [leadKey],
    },
    context,
  );
  if (place === undefined) return 'another that was quicker';
  try {
    // Looked at behind the lead: who registers from now on sees it.
    const members = role === 'lead' ? (await store.range(memberPrefix)).kvs : [];
    // What it was admitted by may have been changed by who was there before.
    const isSoStill = members.length === 0 && (await standingOf(config, store)).role === role;
    if (isSoStill) return { role, place };
    await place.release();
    return members.map((kv) => seenProcess(kv).name).join(', ') || 'one that has just ended';
  } catch (error) {
    await place.release();
    throw error;
  }
}
