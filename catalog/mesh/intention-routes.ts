import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Intention } from '#policies/intention.ts';
import { jwtRequirementSchema } from '#policies/jwt-form.ts';
import { formatMeshIntention, meshIntentionSchema, parseMeshIntention } from '#policies/mesh-intention-form.ts';
import { nameOf } from '../access/caller.ts';
import { mayEditIntentions, policyReaderOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import { demand, entityTag } from '../intentions/entity-tag.ts';
import { planIntention, planIntentionEnd } from '../intentions/plan.ts';
import { refuseEverywhere } from '../intentions/shadow.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { flagSchema, pairParams, problems } from './names.ts';

const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });

/** An intention as our own API shows it. */
export const intentionViewSchema = meshIntentionSchema
  .extend({
    source: z.string(),
    destination: z.string(),
    /** Consul's: the higher is consulted first. */
    precedence: z.number(),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    /** The store's revision of the last write to the destination. */
    revision: z.number(),
    /** For If-Match. */
    etag: z.string(),
    /** The token that is asked of every request to the destination, whichever its source; written as a service-intentions entry. */
    jwt: jwtRequirementSchema.optional(),
  })
  .openapi('Intention');

const writtenSchema = z
  .object({ intention: intentionViewSchema, warnings: z.array(z.string()) })
  .openapi('WrittenIntention');

const preconditions = z.object({
  'if-match': z.string().max(1_024).optional(),
  'if-none-match': z.string().max(1_024).optional(),
});
const path = '/v1/mesh/intentions/{source}/{destination}';

const listRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/intentions',
  responses: {
    200: { description: 'All, in the order in which they are consulted.', content: json(z.array(intentionViewSchema)) },
    ...problems,
  },
});
const getRoute = createRoute({
  method: 'get',
  path,
  request: { params: pairParams },
  responses: {
    200: { description: 'The intention of the pair; its ETag is in the header.', content: json(intentionViewSchema) },
    ...problems,
  },
});
const putRoute = createRoute({
  method: 'put',
  path,
  request: {
    params: pairParams,
    headers: preconditions,
    query: z.object({ force: flagSchema, everywhere: flagSchema }),
    body: { required: true, content: json(z.strictObject(meshIntentionSchema.shape).openapi('IntentionRules')) },
  },
  responses: {
    200: { description: 'Stored in the place of what there was.', content: json(writtenSchema) },
    ...problems,
  },
});
const deleteRoute = createRoute({
  method: 'delete',
  path,
  request: { params: pairParams, headers: preconditions },
  responses: {
    200: {
      description: 'There is none any more. `existed`: there was one.',
      content: json(z.object({ existed: z.boolean() })),
    },
    ...problems,
  },
});

/** /v1/mesh/intentions: one intention at a time, with what Consul's API can't say; the same intentions as there. Written by operators and by who edits those of the destination. */
export function mountIntentionRoutes(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  const { state, writer, context, defaultAction } = parts;

  app.openapi(listRoute, (c) => {
    permit(policyReaderOnly(c.var.caller));
    return c.json(state.intentions.list().map(intentionView), 200);
  });

  app.openapi(getRoute, (c) => {
    permit(policyReaderOnly(c.var.caller));
    const view = intentionView(existing(parts, c.req.valid('param')));
    return c.json(view, 200, { etag: view.etag });
  });

  app.openapi(putRoute, async (c) => {
    const pair = c.req.valid('param');
    permit(mayEditIntentions(c.var.caller, pair.destination));
    const nowMs = context.clock();
    const draft = parseMeshIntention(c.req.valid('json'), pair, nowMs);
    const { force: forced, everywhere } = c.req.valid('query');
    if (everywhere === undefined) refuseEverywhere(draft);
    const force = forced !== undefined;
    const rules = { defaultAction, force, by: nameOf(c.var.caller), how: 'written', nowMs } as const;
    const precondition = preconditionOf(c.req.valid('header'));
    const { warnings } = await writer.commit(() => {
      demand(precondition, arrow(pair), state.intentions.exact(pair.source, pair.destination));
      return planIntention(state, draft, rules);
    });
    context.log.info(
      { audit: 'intention-put', caller: rules.by, ...pair, action: draft.action ?? 'permissions', warnings },
      'intention written',
    );
    const view = intentionView(existing(parts, pair));
    return c.json({ intention: view, warnings: [...warnings] }, 200, { etag: view.etag });
  });

  app.openapi(deleteRoute, async (c) => {
    const pair = c.req.valid('param');
    permit(mayEditIntentions(c.var.caller, pair.destination));
    const change = { by: nameOf(c.var.caller), how: 'deleted', nowMs: context.clock() } as const;
    const precondition = preconditionOf(c.req.valid('header'));
    const existed = await writer.commit(() => {
      demand(precondition, arrow(pair), state.intentions.exact(pair.source, pair.destination));
      return planIntentionEnd(state, pair.destination, change, ({ source }) => source === pair.source);
    });
    context.log.info({ audit: 'intention-delete', caller: change.by, ...pair, existed }, 'intention deleted');
    return c.json({ existed }, 200);
  });
}

/** @throws MeshError SLV-3003 */
function existing({ state }: CatalogParts, pair: { source: string; destination: string }): Intention {
  const found = state.intentions.exact(pair.source, pair.destination);
  if (found === undefined) throw new MeshError('SLV-3003', `There is no intention ${arrow(pair)}.`);
  return found;
}

/** An intention as our own API shows it. */
export function intentionView(intention: Intention): z.infer<typeof intentionViewSchema> {
  return {
    source: intention.source,
    destination: intention.destination,
    ...formatMeshIntention(intention),
    precedence: intention.precedence,
    createdAt: new Date(intention.createdAtMs).toISOString(),
    updatedAt: new Date(intention.updatedAtMs).toISOString(),
    revision: intention.modifyIndex,
    etag: entityTag(intention),
    ...(intention.jwt === undefined ? {} : { jwt: intention.jwt as z.infer<typeof jwtRequirementSchema> }),
  };
}

function preconditionOf(headers: z.infer<typeof preconditions>) {
  return { match: headers['if-match'], noneMatch: headers['if-none-match'] };
}

/** `web -> db`. */
export function arrow({ source, destination }: { source: string; destination: string }): string {
  return `${source} -> ${destination}`;
}
