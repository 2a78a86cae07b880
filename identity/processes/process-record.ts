import { z } from 'zod';
import type { KeyValue } from '#store/contract.ts';
import { storedRecord } from '../stored-record.ts';

/** Where the processes that share a store are written down, each under a key that lives by its lease. */
export const processesPrefix = 'identity/processes/';
/** Of the one process that is there alone. */
export const leadKey = `${processesPrefix}lead`;
/** Of those that serve side by side. */
export const memberPrefix = `${processesPrefix}members/`;
/** Of those that wait until the one in charge is gone. */
export const standbyPrefix = `${processesPrefix}standby/`;

const stored = storedRecord(z.object({ name: z.string(), sinceMs: z.number() }));

/** What a process is to the others: `lead` and `member` serve, as what they were admitted; `standby` waits. */
export type SeenRole = (typeof seenRoles)[number];
export const seenRoles = ['lead', 'member', 'standby'] as const;

/** A process as its key shows it. */
export interface SeenProcess {
  readonly key: string;
  /** Host, and where it serves. */
  readonly name: string;
  readonly role: SeenRole;
  /** Since when it has been that. */
  readonly sinceMs: number;
  /** The revision that its writes are compared with: no other process ever has the same. */
  readonly fence: number;
}

/** What is written under the key of a process. */
export function writtenProcess(name: string, sinceMs: number): Uint8Array {
  return stored.encode({ name, sinceMs });
}

/** @throws MeshError SLV-2143 when something else is written there */
export function seenProcess(kv: KeyValue): SeenProcess {
  const { key, modRevision: fence } = kv;
  const role = key === leadKey ? 'lead' : key.startsWith(memberPrefix) ? 'member' : 'standby';
  return { key, role, fence, ...stored.decode(kv) };
}
