import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { Verdict } from '#policies/intention-decision.ts';
import { mayAskAbout } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { Decisions } from '../intentions/decisions.ts';
import { protocolWarning } from '../intentions/warning.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { problems, serviceNameSchema } from './names.ts';

const headerName = z.string().min(1).max(256);
const headerValue = z.string().max(8_192);

const questionSchema = z
  .strictObject({
    source: serviceNameSchema,
    destination: serviceNameSchema,
    /** Default GET where a path is given. */
    method: z.string().min(1).max(32).optional(),
    /** As a client would send it. Absent: may the source connect at all? */
    path: z.string().min(1).max(8_192).optional(),
    headers: z.record(headerName, z.union([headerValue, z.array(headerValue).max(64)])).optional(),
    /** Claims of the tokens that it would carry, by jwt-provider; they count as verified. */
    tokens: z.record(headerName, z.record(z.string().max(256), z.unknown())).optional(),
  })
  .openapi('IntentionQuestion');

const verdictSchema = z
  .object({
    allowed: z.boolean(),
    /** The rule that decided: `web -> db permission 2 (deny)`, `default (deny)`. */
    rule: z.string(),
    reason: z.string(),
    /** Of a deny by path: which reading matched, and that reading. An allow holds for all readings. */
    reading: z.string().optional(),
    /** The path as the proxies judge and forward it; absent where the question has none, or one that is refused. */
    path: z.string().optional(),
    /** The catalog's revision that this is the answer of. */
    revision: z.number(),
    warning: z.string().optional(),
  })
  .openapi('IntentionVerdict');

const route = createRoute({
  method: 'post',
  path: '/v1/mesh/intentions/check',
  request: { body: { required: true, content: { 'application/json': { schema: questionSchema } } } },
  responses: {
    200: {
      description: 'What the proxy of the destination would decide.',
      content: { 'application/json': { schema: verdictSchema } },
    },
    ...problems,
  },
});

/** POST /v1/mesh/intentions/check: the decision that the destination's proxy would make, with its reason. */
export function mountCheckRoute(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts, decisions: Decisions): void {
  app.openapi(route, (c) => {
    const question = c.req.valid('json');
    permit(mayAskAbout(c.var.caller, question.destination));
    const verdict = ask(decisions, question);
    const deciding = parts.state.intentions.ofDestination(question.destination);
    const consulted = deciding.filter(({ source }) => source === question.source || source === '*');
    const warning = protocolWarning(parts.state, question.destination, consulted);
    return c.json({ ...verdict, ...(warning === undefined ? {} : { warning }) }, 200);
  });
}

function ask(decisions: Decisions, question: z.infer<typeof questionSchema>): Verdict & { readonly path?: string } {
  const { source, destination, method, path, headers = {}, tokens } = question;
  if (path !== undefined || method !== undefined || Object.keys(headers).length > 0 || tokens !== undefined) {
    return decisions.request(source, destination, { method: method ?? 'GET', path: path ?? '/', headers, tokens });
  }
  const decision = decisions.connection(source, destination);
  if (decision.layer === 'connection') return decision.verdict;
  return {
    allowed: false,
    rule: 'per request',
    reason:
      'Each request is decided by itself: there are permissions, or a token is asked for. Give a method and a path.',
    revision: decision.revision,
  };
}
