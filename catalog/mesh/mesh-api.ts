import { OpenAPIHono } from '@hono/zod-openapi';
import { HTTPException } from 'hono/http-exception';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { jsonBodiesOnly } from '#runtime/json-bodies.ts';
import { knownOnly } from '../access/permissions.ts';
import type { CatalogEnv } from '../consul/route-table.ts';
import type { FeedHub } from '../feed/feed-hub.ts';
import type { Decisions } from '../intentions/decisions.ts';
import type { RecentUse } from '../intentions/recent-use.ts';
import type { KeyFetcher } from '../jwt/key-fetcher.ts';
import type { CatalogParts } from '../parts.ts';
import { permit } from './access.ts';
import { mountBackupRoute } from './backup-route.ts';
import { mountCheckRoute } from './check-route.ts';
import { mountDnsFactsRoute } from './dns-facts-route.ts';
import { mountFeedRoutes } from './feed-routes.ts';
import { mountIntentionFileRoutes } from './intention-file-routes.ts';
import { mountIntentionHistoryRoutes } from './intention-history-routes.ts';
import { mountIntentionLintRoute } from './intention-lint-route.ts';
import { mountIntentionRoutes } from './intention-routes.ts';
import { mountIntentionUseRoutes } from './intention-use-routes.ts';
import { mountJwtProvidersRoute } from './jwt-providers-route.ts';
import { mountProxiesRoute } from './proxies-route.ts';
import { mountResilienceRoutes } from './resilience-routes.ts';
import { mountTokenRoutes } from './token-routes.ts';

/** Our own API under /v1/mesh/: what Consul does not have. One set of schemas validates it and describes it in GET /openapi.json. */
export function meshApi(
  parts: CatalogParts,
  hub: FeedHub,
  decisions: Decisions,
  keyFetcher: KeyFetcher,
  use: RecentUse,
): OpenAPIHono<CatalogEnv> {
  const app = new OpenAPIHono<CatalogEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const flaws = result.error.issues.slice(0, 10).map((issue) => {
        const place = issue.path.length > 0 ? `${issue.path.map(String).join('.')}: ` : '';
        return place + issue.message;
      });
      throw new MeshError('SLV-1009', `The request is not valid: ${flaws.join('; ')}.`, {
        detail: { problems: flaws },
      });
    },
  });
  app.use('/v1/mesh/*', jsonBodiesOnly);
  mountResilienceRoutes(app, parts);
  mountCheckRoute(app, parts, decisions);
  mountIntentionFileRoutes(app, parts);
  mountIntentionHistoryRoutes(app, parts);
  mountIntentionLintRoute(app, parts);
  mountIntentionUseRoutes(app, parts, use);
  mountIntentionRoutes(app, parts);
  mountJwtProvidersRoute(app, parts, keyFetcher);
  mountProxiesRoute(app, parts, hub);
  mountFeedRoutes(app, hub);
  mountDnsFactsRoute(app, parts);
  mountBackupRoute(app, parts);
  mountTokenRoutes(app, parts);
  app.get('/openapi.json', (c) => {
    permit(knownOnly(c.var.caller));
    return c.json(
      app.getOpenAPI31Document({ openapi: '3.1.0', info: { title: 'Selvedge catalog', version: '1' } }),
      200,
    );
  });
  return app;
}

/** Errors of hono's own making (a body that is no JSON) in our terms. */
export function asMeshError(error: unknown): unknown {
  if (!(error instanceof HTTPException)) return error;
  const flaw = error.status === 415 ? 'its content-type must be application/json' : error.message || 'not readable';
  return new MeshError('SLV-1009', `The request is malformed: ${flaw}.`, { cause: error });
}
