import { z } from 'zod';
import { invalidIntention } from './consul-object.ts';
import { MeshError } from './errors/mesh-error.ts';
import type { Intention, JwtRequirement } from './intention.ts';
import { type IntentionDraft, judgeMeta, judgeName } from './intention-form.ts';
import { compareIntentions } from './intention-precedence.ts';
import { jwtRequirementSchema } from './jwt-form.ts';
import {
  formatMeshIntention,
  type MeshIntention,
  meshIntentionSchema,
  parseMeshIntention,
} from './mesh-intention-form.ts';

/** Most intentions of one file. */
const maxIntentions = 20_000;
const meta = z.record(z.string(), z.string());

/**
 * All intentions as one file, in the spelling of our own API. What the store adds (times, revisions) is no part of it, so the same policy is always the same
 * file. Meta and JWT belong to a destination (Consul).
 */
export const intentionFileSchema = z.strictObject({
  kind: z.literal('selvedge-intentions'),
  version: z.literal(1),
  intentions: z
    .array(
      z.strictObject({ source: z.string().max(256), destination: z.string().max(256), ...meshIntentionSchema.shape }),
    )
    .max(maxIntentions),
  meta: z.record(z.string().max(256), meta).optional(),
  /** By destination: the token that is asked of every request to it. */
  jwt: z.record(z.string().max(256), jwtRequirementSchema).optional(),
});
export type IntentionFile = z.infer<typeof intentionFileSchema>;

/** What a file says of one destination. */
export interface FiledDestination {
  readonly destination: string;
  readonly drafts: readonly IntentionDraft[];
  /** Undefined: the file has no word on it. */
  readonly meta: Readonly<Record<string, string>> | undefined;
  readonly jwt: JwtRequirement | undefined;
}

/** What a file says, judged. */
export interface FiledIntentions {
  readonly destinations: readonly FiledDestination[];
  /** Intentions whose end is past: they are as if they were not there. */
  readonly ended: readonly Pick<Intention, 'source' | 'destination'>[];
}

/** @param intentions everything that is stored */
export function formatIntentionFile(intentions: readonly Intention[]): IntentionFile {
  const ordered = intentions.toSorted((a, b) =>
    a.destination < b.destination ? -1 : a.destination > b.destination ? 1 : compareIntentions(a, b),
  );
  const jwts = ordered.flatMap((one) => (one.jwt === undefined ? [] : [[one.destination, one.jwt] as const]));
  const metas = ordered.flatMap((one) => (one.meta === undefined ? [] : [[one.destination, one.meta] as const]));
  return {
    kind: 'selvedge-intentions',
    version: 1,
    intentions: ordered.map((intention) => ({
      source: intention.source,
      destination: intention.destination,
      ...formatMeshIntention(intention),
    })),
    ...(metas.length === 0 ? {} : { meta: Object.fromEntries(metas) }),
    ...(jwts.length === 0 ? {} : { jwt: Object.fromEntries(jwts) as NonNullable<IntentionFile['jwt']> }),
  };
}

/**
 * Judges each intention as a write of it would be.
 * @throws MeshError SLV-5004 naming the pair and the field
 */
export function parseIntentionFile(file: IntentionFile, nowMs: number): FiledIntentions {
  const byDestination = new Map<string, IntentionDraft[]>();
  const ended: Pick<Intention, 'source' | 'destination'>[] = [];
  const seen = new Set<string>();
  for (const { source, destination, ...said } of file.intentions) {
    const name = `${source} -> ${destination}`;
    if (seen.has(name)) throw invalidIntention(`${name} is there twice`);
    seen.add(name);
    judgeName(`${name}: destination `, destination);
    if (said.expiresAt !== undefined && Date.parse(said.expiresAt) <= nowMs) {
      ended.push({ source, destination });
      continue;
    }
    const drafts = byDestination.get(destination) ?? [];
    byDestination.set(destination, drafts);
    drafts.push(parseOne(said, { source, destination }, nowMs));
  }
  for (const [destination, given] of Object.entries(file.meta ?? {})) {
    judgeMeta(given);
    if (!byDestination.has(destination))
      throw invalidIntention(`meta of ${destination}, of which there are no intentions`);
  }
  for (const destination of Object.keys(file.jwt ?? {})) {
    if (!byDestination.has(destination))
      throw invalidIntention(`jwt of ${destination}, of which there are no intentions`);
  }
  const destinations = [...byDestination].map(([destination, drafts]) => ({
    destination,
    drafts,
    meta: file.meta?.[destination],
    jwt: file.jwt?.[destination] as JwtRequirement | undefined,
  }));
  return { destinations, ended };
}

function parseOne(said: MeshIntention, pair: { source: string; destination: string }, nowMs: number): IntentionDraft {
  try {
    return parseMeshIntention(said, pair, nowMs);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    throw invalidIntention(`${pair.source} -> ${pair.destination}: ${error.message.replace(/\.$/, '')}`);
  }
}
