import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { browserRefusal } from '#runtime/browser-guard.ts';
import type { ConsulCa } from '#runtime/consul-ca.ts';
import { problemResponse } from '#runtime/problem.ts';
import { type Caller, callerOf, nameOf, tokenNotFound } from './access/caller.ts';
import { denied } from './access/denied.ts';
import { knownOnly, readerOnly } from './access/permissions.ts';
import { withoutSecrets } from './access/token-secret.ts';
import type { Act } from './audit/catalog-events.ts';
import type { CatalogMetrics } from './catalog-metrics.ts';
import { aclRoutes, bootstrapRoute } from './consul/acl-routes.ts';
import { agentSelfRoute, authorizeRoute } from './consul/agent-routes.ts';
import { caRoutes } from './consul/ca-routes.ts';
import { catalogRoutes } from './consul/catalog-routes.ts';
import { configRoutes } from './consul/config-routes.ts';
import { discoveryChainRoutes } from './consul/discovery-chain-routes.ts';
import { eventRoutes } from './consul/event-routes.ts';
import { healthRoutes } from './consul/health-routes.ts';
import { intentionRoutes } from './consul/intention-routes.ts';
import { kvRoutes } from './consul/kv-routes.ts';
import { notOfferedRoutes } from './consul/not-offered.ts';
import { type CatalogEnv, type CatalogRequest, mountRoutes, plainText, queryOf } from './consul/route-table.ts';
import { statusRoutes } from './consul/status-routes.ts';
import { txnRoutes } from './consul/txn-routes.ts';
import type { FeedHub } from './feed/feed-hub.ts';
import type { Decisions } from './intentions/decisions.ts';
import { RecentUse } from './intentions/recent-use.ts';
import type { KeyFetcher } from './jwt/key-fetcher.ts';
import { asMeshError, meshApi } from './mesh/mesh-api.ts';
import type { CatalogParts } from './parts.ts';

/** An application that answers /v1/agent/* on the catalog's port: the agent that `dev` embeds. */
export interface AgentApp {
  fetch(request: Request, env?: unknown): Response | Promise<Response>;
}

/** All routes of the catalog: Consul's, our own, and those of operations. Nobody gets past the door unknown. */
export function catalogApp(options: {
  readonly parts: CatalogParts;
  readonly hub: FeedHub;
  readonly metrics: CatalogMetrics;
  readonly decisions: Decisions;
  readonly keyFetcher: KeyFetcher;
  readonly agentApp: AgentApp | undefined;
  /** Undefined: no trust bundle is carried. */
  readonly ca: ConsulCa | undefined;
  /** `host:port` of this catalog. */
  readonly address: () => string;
}): Hono<CatalogEnv> {
  const { parts, hub, metrics, decisions, agentApp } = options;
  const app = new Hono<CatalogEnv>();

  app.use(async (c, next) => {
    await next();
    metrics.answered(c.req.path, c.res.status);
  });
  app.get('/livez', () => plainText(200, 'ok\n'));
  app.get('/readyz', () =>
    parts.follower.current && !parts.stopping.aborted
      ? plainText(200, 'ok\n')
      : plainText(503, parts.stopping.aborted ? 'stopping\n' : 'the state does not follow its store\n'),
  );
  mountRoutes(app, [bootstrapRoute(parts)]);
  app.use(async (c, next) => {
    if (parts.callers.open) denied(browserRefusal(c.req.raw));
    const caller = callerOf(c.req.raw, c.env?.peer, parts.callers);
    c.set('caller', caller);
    denied(knownOnly(caller));
    if (isRead(c.req.method)) {
      await next();
      // It may have waited, and its token be over meanwhile. (What was written stays written, and is answered as that.)
      if (caller.kind === 'token' && caller.session.over) throw new ConsulError(403, tokenNotFound);
    } else await parts.audit.during(actOf(c, caller), next);
  });
  app.get('/metrics', async (c) => {
    denied(readerOnly(c.var.caller));
    const { contentType, text } = await metrics.exposition();
    return new Response(text, { headers: { 'content-type': contentType } });
  });

  mountRoutes(app, [
    ...catalogRoutes(parts),
    ...healthRoutes(parts),
    ...intentionRoutes(parts, decisions),
    ...configRoutes(parts),
    ...discoveryChainRoutes(parts),
    ...eventRoutes(parts),
    ...kvRoutes(parts),
    ...txnRoutes(parts),
    ...aclRoutes(parts),
    ...statusRoutes(options.address),
    ...caRoutes(parts, options.ca),
    authorizeRoute(decisions),
    ...(agentApp === undefined ? [agentSelfRoute(parts)] : []),
    ...notOfferedRoutes,
  ]);
  app.all('/v1/agent/*', (c) => {
    if (agentApp !== undefined) return agentApp.fetch(c.req.raw, c.env);
    return plainText(
      501,
      'This is a catalog without an agent: /v1/agent is served by the edge proxy of each host (selvedge serve edge-proxy --agent-addr)',
    );
  });
  app.route('/', meshApi(parts, hub, decisions, options.keyFetcher, new RecentUse(parts.context.clock)));

  app.notFound((c) => {
    if (!isOurs(c.req.path))
      return plainText(404, `Invalid URL path: not a recognized HTTP API endpoint: ${c.req.path.slice(0, 256)}`);
    return problemResponse(new MeshError('SLV-1010', 'The catalog has no such route.'), parts.context.log, c.req.path);
  });
  app.onError(async (error, c) => {
    const { path, method } = c.req;
    const answer = isOurs(path) ? ownProblem(error, path) : consulProblem(error);
    if (!isRead(method) && !path.startsWith(feedPath)) {
      const act = actOf(c, c.get('caller') ?? { kind: 'anonymous', reason: '' });
      const code = error instanceof MeshError ? error.code : undefined;
      parts.context.log.warn({ audit: 'refused', ...act, status: answer.status, err: error }, 'refused');
      // It is refused, recorded or not; where the log can't be written now, it keeps the event and has said so.
      await parts.audit.refused(act, answer.status, code, error.message).catch(() => undefined);
    }
    return answer;
  });
  return app;

  function ownProblem(error: Error, path: string): Response {
    const known = error instanceof ConsulError ? new MeshError('SLV-3006', `${error.message}.`) : asMeshError(error);
    return problemResponse(known, parts.context.log, path);
  }

  /** Consul's errors are lines of text. What is nobody's refusal is a fault of ours: logged under an id, and 500 as Consul's clients retry it. */
  function consulProblem(error: Error): Response {
    if (error instanceof ConsulError) return plainText(error.status, error.message);
    if (error instanceof MeshError)
      return plainText(error.entry.status, `${error.message} (${error.code}: ${error.entry.fix})`);
    const id = randomUUID();
    parts.context.log.error({ err: error, id }, 'internal error');
    return plainText(500, `Internal error; the log of the catalog has its cause under ${id}`);
  }
}

/** What proxies say about what they have heard changes nothing. */
const feedPath = '/v1/mesh/feed/';

function isRead(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
}

/** Who does what, for the audit log: all of the request but its body and its token. */
function actOf(c: CatalogRequest, caller: Caller): Act {
  const query = new URLSearchParams(queryOf(c));
  query.delete('token');
  return {
    caller: nameOf(caller),
    remote: c.env?.remoteAddress ?? '',
    method: c.req.method,
    path: withoutSecrets(c.req.path).slice(0, 512),
    ...(query.size === 0 ? {} : { query: withoutSecrets(query.toString()).slice(0, 512) }),
  };
}

/** Our own API answers errors as problem+json, Consul's routes as text. */
function isOurs(path: string): boolean {
  return path.startsWith('/v1/mesh/') || path === '/openapi.json';
}
