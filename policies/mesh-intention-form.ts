import { z } from 'zod';
import { invalidIntention, parseConsul } from './consul-object.ts';
import type { Intention, Permission } from './intention.ts';
import { type IntentionDraft, judgeName, parseSource } from './intention-form.ts';
import { jwtRequirementSchema } from './jwt-form.ts';
import { formatPermissions, maxPermissions, permissionsSchema } from './permission-form.ts';

const text = z.string().max(1_024);
const header = z.strictObject({
  name: text,
  present: z.literal(true).optional(),
  exact: text.optional(),
  prefix: text.optional(),
  suffix: text.optional(),
  contains: text.optional(),
  regex: text.optional(),
  invert: z.boolean().optional(),
  ignoreCase: z.boolean().optional(),
});
const http = z.strictObject({
  pathExact: text.optional(),
  pathPrefix: text.optional(),
  pathRegex: text.optional(),
  headers: z.array(header).max(32).optional(),
  methods: z.array(text).max(32).optional(),
});
/** Ten years. */
const maxLifetimeMs = 3_652 * 86_400_000;
const action = z.enum(['allow', 'deny']);

/** What our own API says of a pair: the model of policies/intention.ts, where Consul's API has its PascalCase. Meanings are judged by parseMeshIntention. */
export const meshIntentionSchema = z.strictObject({
  action: action.optional(),
  permissions: z
    .array(z.strictObject({ action, http, jwt: jwtRequirementSchema.optional() }))
    .min(1)
    .max(maxPermissions)
    .optional(),
  description: text.optional(),
  /** What it would deny it lets through and counts. */
  observe: z.boolean().optional(),
  /** From then on it has no effect. */
  expiresAt: z.iso.datetime({ offset: true }).optional(),
});
export type MeshIntention = z.infer<typeof meshIntentionSchema>;

/**
 * Judges an intention by the same rules as Consul's forms.
 * @throws MeshError SLV-5004 naming the field
 */
export function parseMeshIntention(
  given: MeshIntention,
  pair: { readonly source: string; readonly destination: string },
  nowMs: number,
): IntentionDraft {
  judgeName('destination ', pair.destination);
  if ((given.action === undefined) === (given.permissions === undefined)) {
    throw invalidIntention('exactly one of action and permissions is given');
  }
  // zod's optionals carry `| undefined`, which JSON can't.
  const permissions = formatPermissions((given.permissions ?? []) as readonly Permission[]);
  const fields = {
    Name: pair.source,
    Action: given.action,
    Permissions: parseConsul(permissionsSchema, permissions, 'permissions'),
    Description: given.description,
  };
  const draft = parseSource(fields, 0, pair.destination);
  return {
    ...draft,
    ...(given.observe === true ? { observe: true } : {}),
    ...(given.expiresAt === undefined ? {} : { expiresAtMs: parseEnd(given.expiresAt, nowMs) }),
  };
}

/** An end is in the future, and not so far that it is none. */
function parseEnd(expiresAt: string, nowMs: number): number {
  const atMs = Date.parse(expiresAt);
  if (!(atMs > nowMs)) throw invalidIntention(`expiresAt ${expiresAt} is in the past`);
  if (atMs > nowMs + maxLifetimeMs) throw invalidIntention(`expiresAt ${expiresAt} is more than ten years away`);
  return atMs;
}

/** What was said of a pair, as parseMeshIntention reads it. */
export function formatMeshIntention(
  intention: Pick<Intention, 'action' | 'permissions' | 'description' | 'observe' | 'expiresAtMs'>,
): MeshIntention {
  return {
    ...(intention.action === undefined ? {} : { action: intention.action }),
    ...(intention.permissions === undefined
      ? {}
      : { permissions: intention.permissions as NonNullable<MeshIntention['permissions']> }),
    ...(intention.description === undefined ? {} : { description: intention.description }),
    ...(intention.observe === undefined ? {} : { observe: intention.observe }),
    ...(intention.expiresAtMs === undefined ? {} : { expiresAt: new Date(intention.expiresAtMs).toISOString() }),
  };
}
