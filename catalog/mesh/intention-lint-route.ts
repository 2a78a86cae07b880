import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { inForce } from '#policies/intention-expiry.ts';
import { lintIntentions } from '#policies/intention-lint.ts';
import { wildcard } from '#policies/intention-precedence.ts';
import { policyReaderOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import { keepsSlashes, protocolWarning, unaskedPaths } from '../intentions/warning.ts';
import { unknownProviders } from '../jwt/providers.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { problems } from './names.ts';

const findingSchema = z
  .object({
    source: z.string(),
    destination: z.string(),
    /** Its place in the list, from 1; absent where the whole intention is meant. */
    permission: z.number().optional(),
    problem: z.enum(['never-matches', 'shadowed', 'shadowed-deny', 'cut-by-guard', 'no-effect', 'tcp', 'no-provider']),
    message: z.string(),
  })
  .openapi('IntentionFinding');
type Finding = z.infer<typeof findingSchema>;

const route = createRoute({
  method: 'get',
  path: '/v1/mesh/intentions/lint',
  responses: {
    200: {
      description: 'What of the stored intentions does not do what it says.',
      content: { 'application/json': { schema: z.array(findingSchema) } },
    },
    ...problems,
  },
});

/** GET /v1/mesh/intentions/lint: everything that is stored, looked at as a write would be. */
export function mountIntentionLintRoute(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  app.openapi(route, (c) => {
    permit(policyReaderOnly(c.var.caller));
    const all = inForce(parts.state.intentions.list(), parts.context.clock()).intentions;
    const tcp = all.flatMap((intention): Finding[] => {
      const { source, destination } = intention;
      if (destination === wildcard) return []; // of services that are not known yet, nothing is known
      const message = protocolWarning(parts.state, destination, [intention]);
      return message === undefined ? [] : [{ source, destination, problem: 'tcp', message }];
    });
    const orphaned = all.flatMap((intention) =>
      unknownProviders(parts.state, [intention]).map((name): Finding => {
        const { source, destination } = intention;
        const message = `${source} -> ${destination} asks for a token of ${name}, and there is no such jwt-provider: nobody has one`;
        return { source, destination, problem: 'no-provider', message };
      }),
    );
    const unasked = all.flatMap((intention) =>
      unaskedPaths(parts.state, intention.destination, [intention]).map((found): Finding => {
        return { ...found, destination: intention.destination, problem: 'never-matches' };
      }),
    );
    return c.json([...tcp, ...orphaned, ...unasked, ...lintIntentions(all, all, keepsSlashes(parts.state))], 200);
  });
}
