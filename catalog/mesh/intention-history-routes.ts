import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { isExpired } from '#policies/intention-expiry.ts';
import { formatMeshIntention, meshIntentionSchema } from '#policies/mesh-intention-form.ts';
import { nameOf } from '../access/caller.ts';
import { mayEditIntentions, policyReaderOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import { type PastWrite, pastWrites } from '../intentions/history.ts';
import { planIntention, planIntentionEnd } from '../intentions/plan.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { arrow, intentionView, intentionViewSchema } from './intention-routes.ts';
import { flagSchema, intentionNameSchema, pairParams, problems } from './names.ts';

const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });

const pastWriteSchema = z
  .object({
    source: z.string(),
    destination: z.string(),
    /** The store's revision that the write made. */
    revision: z.number(),
    at: z.iso.datetime(),
    by: z.string(),
    how: z.enum(['written', 'deleted', 'reverted', 'expired', 'imported']),
    /** `- …` was said before, `+ …` is said from here on. */
    diff: z.array(z.string()),
    /** null: there was no intention of the pair. */
    before: meshIntentionSchema.nullable(),
    /** null: there is none from here on. */
    after: meshIntentionSchema.nullable(),
  })
  .openapi('IntentionWrite');

const historyRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/intentions/history',
  request: { query: z.object({ destination: intentionNameSchema, source: intentionNameSchema.optional() }) },
  responses: {
    200: { description: 'The writes that are remembered, the newest first.', content: json(z.array(pastWriteSchema)) },
    ...problems,
  },
});

const revertRoute = createRoute({
  method: 'post',
  path: '/v1/mesh/intentions/{source}/{destination}/revert',
  request: {
    params: pairParams,
    query: z.object({ force: flagSchema }),
    body: {
      required: true,
      content: json(
        z
          .strictObject({
            /** The revision after which the pair is to be as it was. Absent: before its newest write. */
            to: z.number().int().min(1).optional(),
          })
          .openapi('IntentionRevert'),
      ),
    },
  },
  responses: {
    200: {
      description: 'The pair says again what it said; `intention` is null where there was none.',
      content: json(z.object({ intention: intentionViewSchema.nullable(), warnings: z.array(z.string()) })),
    },
    ...problems,
  },
});

/** GET /v1/mesh/intentions/history: who changed what, when; POST …/revert: back. Read by readers and editors, reverted by who may write. */
export function mountIntentionHistoryRoutes(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  const { state, writer, context, defaultAction } = parts;

  app.openapi(historyRoute, (c) => {
    permit(policyReaderOnly(c.var.caller));
    const { destination, source } = c.req.valid('query');
    return c.json(pastWrites(state, destination, source).map(view), 200);
  });

  app.openapi(revertRoute, async (c) => {
    const pair = c.req.valid('param');
    permit(mayEditIntentions(c.var.caller, pair.destination));
    const { source, destination } = pair;
    const { to } = c.req.valid('json');
    const force = c.req.valid('query').force !== undefined;
    const rules = { defaultAction, force, by: nameOf(c.var.caller), how: 'reverted', nowMs: context.clock() } as const;
    const { warnings } = await writer.commit(() => {
      const past = asItWas(pastWrites(state, destination, source), to, arrow(pair));
      if (past !== undefined && isExpired(past, rules.nowMs)) {
        throw new MeshError('SLV-5004', `What ${arrow(pair)} said then has expired since: write it anew.`);
      }
      if (past !== undefined) return planIntention(state, { ...past, destination }, rules);
      const { compare, operations } = planIntentionEnd(state, destination, rules, (one) => one.source === source);
      return { compare, operations, result: { warnings: [] } };
    });
    context.log.info(
      { audit: 'intention-revert', caller: rules.by, ...pair, ...(to === undefined ? {} : { to }), warnings },
      'intention reverted',
    );
    const found = state.intentions.exact(source, destination);
    const intention = found === undefined ? null : intentionView(found);
    return c.json({ intention, warnings: [...warnings] }, 200);
  });
}

/**
 * @param writes of the pair, the newest first
 * @throws MeshError SLV-3003 for what is not remembered
 */
function asItWas(writes: readonly PastWrite[], to: number | undefined, pair: string): PastWrite['before'] {
  const [newest] = writes;
  if (newest === undefined) throw new MeshError('SLV-3003', `No write of ${pair} is remembered.`);
  if (to === undefined) return newest.before;
  const [then] = writes.filter(({ revision }) => revision <= to);
  if (then !== undefined) return then.after;
  throw new MeshError('SLV-3003', `The history of ${pair} does not reach back to revision ${to}.`, {
    detail: { oldest: writes.at(-1)?.revision ?? 0 },
  });
}

function view({ atMs, before, after, diff, ...write }: PastWrite): z.infer<typeof pastWriteSchema> {
  return {
    ...write,
    at: new Date(atMs).toISOString(),
    diff: [...diff],
    before: before === undefined ? null : formatMeshIntention(before),
    after: after === undefined ? null : formatMeshIntention(after),
  };
}
