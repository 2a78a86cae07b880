import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { formatIntentionFile, intentionFileSchema, parseIntentionFile } from '#policies/intention-file.ts';
import { nameOf } from '../access/caller.ts';
import { editorOnly, mayEditIntentions, operatorOnly, policyReaderOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import { applyImport, planImport } from '../intentions/import.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { flagSchema, problems } from './names.ts';

const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });
const fileSchema = z.strictObject(intentionFileSchema.shape).openapi('IntentionFile');

const importedSchema = z
  .object({
    /** False: nothing was written, this is what would be. */
    applied: z.boolean(),
    changes: z.array(
      z.object({
        source: z.string(),
        destination: z.string(),
        /** `- …` is said now, `+ …` is said from then on. */
        diff: z.array(z.string()),
      }),
    ),
    /** Intentions of the file that are stored as it says. */
    unchanged: z.number(),
    /** Destinations whose Meta, or the token that they ask for, becomes another. */
    meta: z.array(z.string()),
    /** Intentions of the file whose end is past; they are passed over. */
    ended: z.array(z.object({ source: z.string(), destination: z.string() })),
    warnings: z.array(z.string()),
    /** Transactions that it took. */
    steps: z.number(),
  })
  .openapi('IntentionImport');

const exportRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/intentions/export',
  responses: {
    200: { description: 'All intentions, as import reads them.', content: json(fileSchema) },
    ...problems,
  },
});
const importRoute = createRoute({
  method: 'post',
  path: '/v1/mesh/intentions/import',
  request: {
    query: z.object({
      /** Without it nothing is written. */
      apply: flagSchema,
      /** What is not in the file ends. */
      prune: flagSchema,
      /** Of pairs that there are, mode and end stay: the file is made of a form that has none. */
      'keep-modes': flagSchema,
      force: flagSchema,
      everywhere: flagSchema,
    }),
    body: { required: true, content: json(fileSchema) },
  },
  responses: {
    200: { description: 'What it changes, pair by pair.', content: json(importedSchema) },
    ...problems,
  },
});

/** /v1/mesh/intentions/export and /import: the whole policy as one file. */
export function mountIntentionFileRoutes(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  const { state, context, defaultAction } = parts;

  app.openapi(exportRoute, (c) => {
    permit(policyReaderOnly(c.var.caller));
    return c.json(formatIntentionFile(state.intentions.list()), 200);
  });

  app.openapi(importRoute, async (c) => {
    const { caller } = c.var;
    permit(editorOnly(caller));
    const given = c.req.valid('json');
    const query = c.req.valid('query');
    for (const { destination } of given.intentions) permit(mayEditIntentions(caller, destination));
    const prune = query.prune !== undefined;
    if (prune) permit(operatorOnly(caller)); // it ends what the file does not name
    const nowMs = context.clock();
    const file = parseIntentionFile(given, nowMs);
    const rules = {
      defaultAction,
      force: query.force !== undefined,
      everywhere: query.everywhere !== undefined,
      prune,
      by: nameOf(caller),
      keepModes: query['keep-modes'] !== undefined,
      dryRun: query.apply === undefined,
      nowMs,
    };
    const { destinations, ...plan } = planImport(state, file, rules);
    const applied = query.apply !== undefined;
    const steps = applied ? await applyImport(parts, file, rules) : 0;
    if (applied) {
      context.log.info(
        {
          audit: 'intention-import',
          caller: rules.by,
          changes: plan.changes.length,
          destinations: destinations.length,
        },
        'intentions imported',
      );
    }
    return c.json(
      {
        applied,
        changes: plan.changes.map((change) => ({ ...change, diff: [...change.diff] })),
        unchanged: plan.unchanged,
        meta: [...plan.meta],
        ended: [...file.ended],
        warnings: [...plan.warnings],
        steps,
      },
      200,
    );
  });
}
