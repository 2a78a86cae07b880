import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { meshProxiesSchema } from '#policies/wire/mesh-proxies.ts';
import { ownOnly, readerOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { FeedHub } from '../feed/feed-hub.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { problems } from './names.ts';

const route = createRoute({
  method: 'get',
  path: '/v1/mesh/proxies',
  responses: {
    200: {
      description: 'Every proxy that follows the feed, or did within ten minutes, and what it has applied.',
      content: { 'application/json': { schema: meshProxiesSchema } },
    },
    ...problems,
  },
});

/** GET /v1/mesh/proxies: for operators, readers, and for identity, whose rotation waits until every live proxy has the new bundle. */
export function mountProxiesRoute(app: OpenAPIHono<CatalogEnv>, parts: CatalogParts, hub: FeedHub): void {
  app.openapi(route, (c) => {
    if (readerOnly(c.var.caller) !== undefined) permit(ownOnly(c.var.caller, 'selvedge-identity'));
    const nowMs = parts.context.clock();
    const proxies = hub.proxies.list().map(({ subscription, connected, heardAtMs, ack }) => ({
      proxy: subscription.proxy,
      spiffeId: subscription.owner ?? null,
      services: [...subscription.services],
      upstreams: [...subscription.upstreams],
      connected,
      live: connected || nowMs - heardAtMs <= 2 * hub.keepAliveMs,
      heardAgoMs: nowMs - heardAtMs,
      acknowledged:
        ack === undefined
          ? null
          : {
              revision: ack.revision,
              ageMs: nowMs - ack.atMs,
              bundleSequence: ack.bundleSequence,
              rejected: ack.rejected,
            },
    }));
    return c.json({ revision: parts.state.revision, proxies }, 200);
  });
}
