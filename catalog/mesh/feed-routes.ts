import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { feedAckSchema, feedMessageSchema } from '#policies/wire/feed.ts';
import type { Caller } from '../access/caller.ts';
import { ownOnly, proxyOnly } from '../access/permissions.ts';
import { type CatalogEnv, queryOf } from '../consul/route-table.ts';
import type { FeedEnd, FeedHub } from '../feed/feed-hub.ts';
import { permit } from './access.ts';
import { problems, serviceNameSchema } from './names.ts';

const maxServices = 64;
const maxUpstreams = 1_024;

/** A query parameter that may repeat; what is named twice counts once. */
const names = (max: number) =>
  z
    .array(serviceNameSchema)
    .max(max)
    .transform((given) => [...new Set(given)]);

const subscriptionSchema = z.object({
  proxy: z
    .string()
    .min(1)
    .max(256)
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces'),
  service: names(maxServices),
  upstream: names(maxUpstreams),
  new: names(maxUpstreams),
  names: z.literal('mesh').optional(),
  limits: z.literal('1').optional(),
  since: z.coerce.number().int().min(0).optional(),
});

const feedRoute = createRoute({
  method: 'get',
  path: '/v1/mesh/feed',
  request: { query: subscriptionSchema },
  responses: {
    200: {
      description: 'One FeedMessage a line, for as long as the connection lives.',
      content: { 'application/x-ndjson': { schema: feedMessageSchema } },
    },
    ...problems,
  },
});

const ackRoute = createRoute({
  method: 'post',
  path: '/v1/mesh/feed/ack',
  request: { body: { required: true, content: { 'application/json': { schema: feedAckSchema } } } },
  responses: {
    200: {
      description: 'Taken in.',
      content: { 'application/json': { schema: z.object({ acknowledged: z.number() }) } },
    },
    ...problems,
  },
});

/** The feed of the edge proxies: policies/wire/feed.ts. */
export function mountFeedRoutes(app: OpenAPIHono<CatalogEnv>, hub: FeedHub): void {
  // Described and checked like the others; by itself because hono's types know no answer that is a stream.
  app.openAPIRegistry.registerPath(feedRoute);
  app.get('/v1/mesh/feed', (c) => {
    const { caller } = c.var;
    permit(proxyOnly(caller));
    const {
      proxy,
      service: services,
      upstream: upstreams,
      new: unknown,
      names,
      limits,
      since,
    } = subscriptionOf(queryOf(c));
    if (services.length === 0) throw new MeshError('SLV-1009', 'A feed names at least one service of the proxy.');
    for (const service of services) permit(ownOnly(caller, service));
    const body = hub.open(
      {
        proxy,
        owner: ownerOf(caller),
        services,
        upstreams,
        unknown,
        meshNames: names !== undefined,
        limits: limits !== undefined,
      },
      since,
      endOf(caller),
    );
    return new Response(body, {
      headers: {
        'content-type': 'application/x-ndjson',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
        'x-content-type-options': 'nosniff',
      },
    });
  });

  app.openapi(ackRoute, (c) => {
    const { caller } = c.var;
    permit(proxyOnly(caller));
    const ack = c.req.valid('json');
    hub.proxies.acknowledged(ack, ownerOf(caller));
    return c.json({ acknowledged: ack.revision }, 200);
  });
}

/** @throws MeshError SLV-1009 */
function subscriptionOf(query: URLSearchParams): z.infer<typeof subscriptionSchema> {
  const parsed = subscriptionSchema.safeParse({
    proxy: query.get('proxy') ?? '',
    service: query.getAll('service'),
    upstream: query.getAll('upstream'),
    new: query.getAll('new'),
    names: query.get('names') ?? undefined,
    limits: query.get('limits') ?? undefined,
    since: query.get('since') ?? undefined,
  });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new MeshError('SLV-1009', `${issue?.path.join('.') ?? 'query'}: ${issue?.message ?? 'not valid'}.`);
}

function endOf(caller: Caller): FeedEnd {
  if (caller.kind === 'workload') return { atMs: caller.notAfterMs };
  return caller.kind === 'token' ? { session: caller.session } : {};
}

function ownerOf(caller: Caller): string | undefined {
  return caller.kind === 'workload' ? caller.spiffeId : undefined;
}
