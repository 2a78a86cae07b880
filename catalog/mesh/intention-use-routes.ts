import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { meshIntentionSchema, parseMeshIntention } from '#policies/mesh-intention-form.ts';
import { recentCallsSchema } from '#policies/wire/recent-calls.ts';
import { nameOf } from '../access/caller.ts';
import { mayAskAbout, ownOnly, proxyOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import { planIntention } from '../intentions/plan.ts';
import { type ChangedCall, previewEdit } from '../intentions/preview.ts';
import type { RecentUse } from '../intentions/recent-use.ts';
import { refuseEverywhere } from '../intentions/shadow.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { flagSchema, intentionNameSchema, pairParams, problems, serviceNameSchema } from './names.ts';

const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });
/** Kinds of call that are named of each sort. */
const maxNamed = 100;

const usedFields = {
  source: z.string(),
  destination: z.string(),
  /** '' of connections that no requests are read of. */
  method: z.string(),
  /** The shape of its path: `{}` stands for what looks like the name of one thing. */
  path: z.string(),
  /** One such path. */
  example: z.string(),
  allowed: z.number(),
  denied: z.number(),
  /** Let through by an intention in observe mode, which would have denied it. */
  observed: z.number(),
};
const usedSchema = z.object(usedFields).openapi('UsedCall');
const outlook = z.enum(['allowed', 'denied', 'depends']);
const changedSchema = z.object({ ...usedFields, before: outlook, after: outlook }).openapi('ChangedCall');
const sort = z.object({ count: z.number(), calls: z.array(changedSchema) });

const previewSchema = z
  .object({
    /** `removes 1 path used in the last hour`. */
    summary: z.string(),
    /** `- …` is said now, `+ …` is said from then on. */
    diff: z.array(z.string()),
    /** Let in now, and not after; at most 100 are named, as of the others. */
    loses: sort,
    /** Refused now, and let in after. */
    gains: sort,
    /** After, it depends on headers or tokens, which are not known of the calls of the last hour. */
    depends: sort,
    /** Kinds of call of the last hour that were looked at, and calls of which none is known. */
    considered: z.number(),
    missed: z.number(),
    /** What the write would say. */
    warnings: z.array(z.string()),
    /** Why the write would be refused. */
    refused: z.object({ code: z.string(), detail: z.string() }).optional(),
  })
  .openapi('IntentionPreview');

const reportRoute = createRoute({
  method: 'post',
  path: '/v1/mesh/calls',
  request: { body: { required: true, content: json(z.strictObject(recentCallsSchema.shape).openapi('RecentCalls')) } },
  responses: { 200: { description: 'Taken in.', content: json(z.object({ taken: z.number() })) }, ...problems },
});
const useRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/intentions/use',
  request: { query: z.object({ destination: serviceNameSchema, source: intentionNameSchema.optional() }) },
  responses: {
    200: {
      description:
        'How the destination was called in the last hour, as its proxies told this catalog; the most frequent first.',
      content: json(z.object({ calls: z.array(usedSchema), missed: z.number() })),
    },
    ...problems,
  },
});
const previewRoute = createRoute({
  method: 'post',
  path: '/v1/mesh/intentions/{source}/{destination}/preview',
  request: {
    params: pairParams,
    query: z.object({ force: flagSchema, everywhere: flagSchema }),
    body: {
      required: true,
      content: json(
        z
          .strictObject({
            /** What the pair would say; null: nothing any more. */
            intention: z.strictObject(meshIntentionSchema.shape).nullable(),
          })
          .openapi('IntentionEdit'),
      ),
    },
  },
  responses: {
    200: { description: 'What would change; nothing is written.', content: json(previewSchema) },
    ...problems,
  },
});

/** What was called in the last hour, and what an edit would change of it. Read by who has to do with the destination. */
export function mountIntentionUseRoutes(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts, use: RecentUse): void {
  const { state, context, defaultAction } = parts;

  app.openapi(reportRoute, (c) => {
    permit(proxyOnly(c.var.caller));
    const report = c.req.valid('json');
    permit(ownOnly(c.var.caller, report.service));
    use.take(report);
    return c.json({ taken: report.calls.length }, 200);
  });

  app.openapi(useRoute, (c) => {
    const { destination, source } = c.req.valid('query');
    permit(mayAskAbout(c.var.caller, destination));
    const calls = use.of(destination, source).sort((a, b) => total(b) - total(a));
    const shown = calls.map(({ template, ...call }) => ({ ...call, path: template }));
    return c.json({ calls: shown, missed: use.missed(destination) }, 200);
  });

  app.openapi(previewRoute, (c) => {
    const pair = c.req.valid('param');
    permit(mayAskAbout(c.var.caller, pair.destination));
    const { intention } = c.req.valid('json');
    const nowMs = context.clock();
    const draft = intention === null ? undefined : parseMeshIntention(intention, pair, nowMs);
    const { diff, loses, gains, depends, considered, missed } = previewEdit(parts, use, pair, draft);
    const force = c.req.valid('query').force !== undefined;
    const rules = { defaultAction, force, by: nameOf(c.var.caller), how: 'written', nowMs } as const;
    const judged =
      draft === undefined
        ? { warnings: [] }
        : judge(() => {
            if (c.req.valid('query').everywhere === undefined) refuseEverywhere(draft);
            return planIntention(state, draft, rules).result.warnings;
          });
    return c.json(
      {
        summary: summaryOf(loses, gains, depends),
        diff: [...diff],
        loses: shown(loses),
        gains: shown(gains),
        depends: shown(depends),
        considered,
        missed,
        ...judged,
      },
      200,
    );
  });
}

function judge(plan: () => readonly string[]): { warnings: string[]; refused?: { code: string; detail: string } } {
  try {
    return { warnings: [...plan()] };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { warnings: [], refused: { code: error.code, detail: error.message } };
  }
}

function shown(calls: readonly ChangedCall[]): z.infer<typeof sort> {
  const named = calls.toSorted((a, b) => total(b) - total(a)).slice(0, maxNamed);
  return { count: calls.length, calls: named.map(({ template, ...call }) => ({ ...call, path: template })) };
}

function summaryOf(
  loses: readonly ChangedCall[],
  gains: readonly ChangedCall[],
  depends: readonly ChangedCall[],
): string {
  const paths = (count: number) => `${count} path${count === 1 ? '' : 's'}`;
  const parts = [
    ...(loses.length > 0 ? [`removes ${paths(loses.length)} used in the last hour`] : []),
    ...(gains.length > 0 ? [`opens ${paths(gains.length)} refused in the last hour`] : []),
    ...(depends.length > 0 ? [`makes ${paths(depends.length)} depend on headers or tokens`] : []),
  ];
  return parts.length === 0 ? 'changes nothing of what was called in the last hour' : parts.join(', ');
}

function total({ allowed, denied, observed }: Pick<ChangedCall, 'allowed' | 'denied' | 'observed'>): number {
  return allowed + denied + observed;
}
