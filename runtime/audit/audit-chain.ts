import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { AuditEvent, AuditFact, AuditLogEvent } from './audit-event.ts';

/**
 * The form of an audit log: one JSON object a line, each holding the hash of the one before, so that nothing can be changed or taken out of the middle
 * unseen. (The end can be cut off by whoever may write the file: compare `sequence` with a copy kept elsewhere.)
 */

/** Where a chain stands: the number and the hash of its last line. */
export interface ChainPosition {
  readonly sequence: number;
  readonly hash: string;
}

/** Before the first line. */
export const chainStart: ChainPosition = { sequence: 0, hash: '0'.repeat(64) };

/** No line is longer; what a fact may hold is cut to keep it so. */
export const maxLineBytes = 524_288;
const maxFactLength = 1_024;
const maxItemLength = 256;
const maxListLength = 128;

const lineSchema = z.looseObject({
  sequence: z.number().int().min(1),
  time: z.string(),
  previous: z.string().length(64),
  hash: z.string().length(64),
});

/** The head of a line that fits its own hash. */
export type ChainLine = z.infer<typeof lineSchema>;

/**
 * The next line of a chain.
 * @returns the line with its line break, and where the chain stands behind it
 */
export function sealLine(
  at: ChainPosition,
  timeMs: number,
  event: AuditEvent | AuditLogEvent,
): { readonly line: string; readonly position: ChainPosition } {
  const sequence = at.sequence + 1;
  const facts = Object.fromEntries(Object.entries(event).map(([name, fact]) => [name, bounded(fact)]));
  const head = { sequence, time: new Date(timeMs).toISOString() };
  // The place in the chain comes first, for reading, and last, so that no fact can pass for it.
  const body = JSON.stringify(Object.assign({ ...head }, facts, head, { previous: at.hash }));
  const hash = hashOf(body);
  return { line: `${body.slice(0, -1)},"hash":"${hash}"}\n`, position: { sequence, hash } };
}

/** @returns the line's place in the chain, or undefined when it is no line of a log or its hash does not fit what it says */
export function readLine(line: string): ChainLine | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return undefined; // said by the caller, with the line's number
  }
  const parsed = lineSchema.safeParse(json);
  if (!parsed.success) return undefined;
  const suffix = `,"hash":"${parsed.data.hash}"}`;
  if (!line.endsWith(suffix)) return undefined;
  return hashOf(`${line.slice(0, -suffix.length)}}`) === parsed.data.hash ? parsed.data : undefined;
}

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

function bounded(fact: AuditFact): AuditFact {
  if (typeof fact === 'string') return fact.length > maxFactLength ? `${fact.slice(0, maxFactLength)}…` : fact;
  if (typeof fact !== 'object') return fact;
  const list = fact.slice(0, maxListLength).map((each) => each.slice(0, maxItemLength));
  return fact.length > maxListLength ? [...list, `… and ${fact.length - maxListLength} more`] : list;
}
