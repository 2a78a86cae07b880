import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { maxRoleLength, parseTokenRole } from '#policies/token-role.ts';
import { operatorOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { CatalogParts } from '../parts.ts';
import type { StoredToken } from '../state/tokens.ts';
import { maxDescriptionLength, maxTokenRoles } from '../tokens/plan.ts';
import { createToken, revokeToken } from '../tokens/token-register.ts';
import { permit } from './access.ts';
import { problems } from './names.ts';

const json = <S extends z.ZodType>(schema: S) => ({ 'application/json': { schema } });
const maxLifeSeconds = 10 * 366 * 86_400;

const draftSchema = z
  .strictObject({
    /** `operator`, `reader`, `intentions:NAME`, `service:NAME`; NAME is a service, or a prefix with one trailing `*`. */
    roles: z.array(z.string().min(1).max(maxRoleLength)).min(1).max(maxTokenRoles),
    description: z.string().max(maxDescriptionLength).default(''),
    /** Absent: good until it is revoked. */
    expiresAfterSeconds: z.number().int().min(1).max(maxLifeSeconds).optional(),
  })
  .openapi('TokenDraft');

const tokenSchema = z
  .object({
    accessor: z.string(),
    roles: z.array(z.string()),
    description: z.string(),
    createdAt: z.string(),
    createdBy: z.string(),
    expiresAt: z.string().nullable(),
    expired: z.boolean(),
  })
  .openapi('Token');
const madeSchema = tokenSchema
  .extend({
    /** In this answer and nowhere else. */
    secret: z.string(),
  })
  .openapi('TokenMade');

const accessorParam = z.object({
  accessor: z
    .string()
    .min(1)
    .max(128)
    .openapi({ param: { name: 'accessor', in: 'path' }, example: '6f9619ff-8b86-4d01-8b42-00cf4fc964ff' }),
});

const listRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/tokens',
  responses: {
    200: { description: 'All tokens, the oldest first; never their secrets.', content: json(z.array(tokenSchema)) },
    ...problems,
  },
});
const createRouteOf = createRoute({
  method: 'post',
  path: '/v1/mesh/tokens',
  request: { body: { required: true, content: json(draftSchema) } },
  responses: { 201: { description: 'The token, with its secret.', content: json(madeSchema) }, ...problems },
});
const readRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/tokens/{accessor}',
  request: { params: accessorParam },
  responses: { 200: { description: 'One token.', content: json(tokenSchema) }, ...problems },
});
const revokeRoute = createRoute({
  method: 'delete',
  path: '/v1/mesh/tokens/{accessor}',
  request: { params: accessorParam },
  responses: {
    200: { description: 'It is good no more.', content: json(z.object({ revoked: z.string() })) },
    ...problems,
  },
});

/** /v1/mesh/tokens: made, listed, read and revoked by operators. */
export function mountTokenRoutes(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts): void {
  const { state, context } = parts;

  app.openapi(listRoute, (c) => {
    permit(operatorOnly(c.var.caller));
    return c.json(
      state.tokens.list().map((token) => view(token, context.clock())),
      200,
    );
  });

  app.openapi(createRouteOf, async (c) => {
    permit(operatorOnly(c.var.caller));
    const { roles, description, expiresAfterSeconds } = c.req.valid('json');
    const nowMs = context.clock();
    const { accessor, secret } = await createToken(parts, c.var.caller, {
      roles: roles.map(parseTokenRole),
      description,
      nowMs,
      expiresAtMs: expiresAfterSeconds === undefined ? undefined : nowMs + expiresAfterSeconds * 1_000,
    });
    return c.json({ ...view(existing(parts, accessor), context.clock()), secret }, 201, {
      'cache-control': 'no-store',
    });
  });

  app.openapi(readRoute, (c) => {
    permit(operatorOnly(c.var.caller));
    return c.json(view(existing(parts, c.req.valid('param').accessor), context.clock()), 200);
  });

  app.openapi(revokeRoute, async (c) => {
    permit(operatorOnly(c.var.caller));
    const { accessor } = c.req.valid('param');
    if (!(await revokeToken(parts, c.var.caller, accessor))) throw missing(accessor);
    return c.json({ revoked: accessor }, 200);
  });
}

function existing({ state }: CatalogParts, accessor: string): StoredToken {
  const token = state.tokens.get(accessor);
  if (token === undefined) throw missing(accessor);
  return token;
}

/** Who mistakes the secret for the accessor must not find it in a log. */
function missing(accessor: string): MeshError {
  const shown = /^[0-9a-f-]{1,36}$/.test(accessor) ? ` ${quote(accessor)}` : '';
  return new MeshError('SLV-3008', `There is no token with the accessor${shown || ' that was given'}.`);
}

function view({ record }: StoredToken, nowMs: number): z.infer<typeof tokenSchema> {
  const { ExpiresAtMs } = record;
  return {
    accessor: record.Accessor,
    roles: record.Roles,
    description: record.Description,
    createdAt: new Date(record.CreatedAtMs).toISOString(),
    createdBy: record.CreatedBy,
    expiresAt: ExpiresAtMs === undefined ? null : new Date(ExpiresAtMs).toISOString(),
    expired: ExpiresAtMs !== undefined && nowMs >= ExpiresAtMs,
  };
}
