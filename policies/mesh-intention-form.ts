import { z } from 'zod';
import { invalidIntention, parseConsul } from './consul-object.ts';
import type { Intention, Permission } from './intention.ts';
import { type IntentionDraft, judgeName, parseSource } from './intention-form.ts';
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
const action = z.enum(['allow', 'deny']);

/** What our own API says of a pair: the model of policies/intention.ts, where Consul's API has its PascalCase. Meanings are judged by parseMeshIntention. */
export const meshIntentionSchema = z.strictObject({
  action: action.optional(),
  permissions: z.array(z.strictObject({ action, http })).min(1).max(maxPermissions).optional(),
  description: text.optional(),
});
export type MeshIntention = z.infer<typeof meshIntentionSchema>;

/**
 * Judges an intention by the same rules as Consul's forms.
 * @throws MeshError SLV-5004 naming the field
 */
export function parseMeshIntention(
  given: MeshIntention,
  pair: { readonly source: string; readonly destination: string },
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
  return parseSource(fields, 0, pair.destination);
}

/** What was said of a pair, as parseMeshIntention reads it. */
export function formatMeshIntention(
  intention: Pick<Intention, 'action' | 'permissions' | 'description'>,
): MeshIntention {
  return {
    ...(intention.action === undefined ? {} : { action: intention.action }),
    ...(intention.permissions === undefined
      ? {}
      : { permissions: intention.permissions as NonNullable<MeshIntention['permissions']> }),
    ...(intention.description === undefined ? {} : { description: intention.description }),
  };
}
