import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { policyReaderOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { KeyFetcher } from '../jwt/key-fetcher.ts';
import { keysOf } from '../jwt/providers.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { problems } from './names.ts';

const providerSchema = z
  .object({
    name: z.string(),
    source: z.enum(['local', 'remote']),
    /** Key ids in use; null: a key without one. */
    keys: z.array(z.string().nullable()),
    /** Why there are no keys: every token of it is refused. */
    flaw: z.string().optional(),
    /** Of a remote one. */
    uri: z.string().optional(),
    /** When the keys in use were first there. */
    keysSince: z.iso.datetime().optional(),
    /** How long ago the issuer last confirmed them to this catalog, ms; absent: not since it started. */
    confirmedAgoMs: z.number().optional(),
    /** Of the last try. */
    failure: z.string().optional(),
  })
  .openapi('JwtProvider');

const route = createRoute({
  method: 'get',
  path: '/v1/mesh/jwt-providers',
  responses: {
    200: {
      description: 'Whose tokens intentions may ask for, with the keys that verify them and how old those are.',
      content: { 'application/json': { schema: z.array(providerSchema) } },
    },
    ...problems,
  },
});

/** GET /v1/mesh/jwt-providers: the `jwt-provider` entries as the proxies get them. */
export function mountJwtProvidersRoute(
  app: OpenAPIHono<CatalogEnv>,
  { state, context }: CatalogParts,
  fetcher: KeyFetcher,
): void {
  app.openapi(route, (c) => {
    permit(policyReaderOnly(c.var.caller));
    const nowMs = context.clock();
    const providers = state.config.list('jwt-provider').map(({ record }) => {
      const keys = keysOf(state, record);
      const uri = record.JSONWebKeySet?.Remote?.URI;
      const held = state.keySets.get(record.Name)?.record;
      const { confirmedAtMs, failure } = fetcher.stateOf(record.Name) ?? {};
      return {
        name: record.Name,
        source: uri === undefined ? ('local' as const) : ('remote' as const),
        keys: 'keys' in keys ? keys.keys.map(({ kid }) => kid ?? null) : [],
        ...('flaw' in keys ? { flaw: keys.flaw } : {}),
        ...(uri === undefined ? {} : { uri }),
        ...(held === undefined || held.URI !== uri ? {} : { keysSince: new Date(held.FetchedAtMs).toISOString() }),
        ...(confirmedAtMs === undefined ? {} : { confirmedAgoMs: nowMs - confirmedAtMs }),
        ...(failure === undefined ? {} : { failure }),
      };
    });
    return c.json(providers, 200);
  });
}
