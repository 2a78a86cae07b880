import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { PeerEnv } from '#runtime/http-service.ts';
import { isAskedAsLoopback } from '#runtime/socket-address.ts';
import type { AgentAccess } from './agent-options.ts';
import { type AgentParts, type AgentRequest, plainText, requireToken } from './agent-route.ts';
import { caRoutes } from './ca-routes.ts';
import { checkRoutes } from './check-routes.ts';
import { connectRoutes } from './connect-routes.ts';
import { healthRoutes } from './health-routes.ts';
import { metricsRoutes } from './metrics-routes.ts';
import { nodeRoutes } from './node-routes.ts';
import { serviceRoutes } from './service-routes.ts';

/** Consul's routes of the agent, answered as Consul answers: plain-text errors, 405 with Allow. */
export function agentApp(parts: AgentParts): Hono<{ Bindings: PeerEnv }> {
  const app = new Hono<{ Bindings: PeerEnv }>();
  const routes = [
    ...nodeRoutes(parts),
    ...metricsRoutes(parts),
    ...serviceRoutes(parts),
    ...checkRoutes(parts),
    ...healthRoutes(parts),
    ...connectRoutes(parts),
    ...caRoutes(parts),
  ];
  app.use('/v1/*', async (c, next) => {
    refuseStrangers(parts.access, c);
    if (parts.readOnly() && c.req.method !== 'GET' && c.req.method !== 'HEAD' && c.req.method !== 'OPTIONS')
      throw new ConsulError(503, 'A newer process of this agent is taking over: try again in a second');
    await next();
  });
  for (const { path, method, handle } of routes) {
    const allow = { allow: `OPTIONS,${method}` };
    app.on(method, path, handle);
    app.options(path, () => new Response(null, { status: 200, headers: allow }));
    app.all(path, (c) => plainText(405, `method ${c.req.method} not allowed`, allow));
  }
  const { forward } = parts;
  if (forward !== undefined) {
    app.all('/v1/agent/*', (c) => c.notFound());
    app.all('/v1/mesh/*', () => plainText(404, 'The API under /v1/mesh is at the catalog itself'));
    app.all('/v1/*', (c) => forward.answer(c));
  }
  app.notFound((c) =>
    plainText(404, `Invalid URL path: not a recognized HTTP API endpoint: ${c.req.path.slice(0, 128)}`),
  );
  app.onError((error, c) => {
    if (error instanceof ConsulError) return plainText(error.status, error.message);
    // 500 whatever of 5xx it is, as Consul's clients try that again.
    if (isMeshError(error))
      return plainText(Math.min(500, error.entry.status), `${error.message} (${error.code}: ${error.entry.fix})`);
    const id = randomUUID();
    parts.context.log.error({ err: error, id, path: c.req.path }, 'internal error');
    return plainText(500, `Internal error; the log of the agent has its cause under ${id}`);
  });
  return app;
}

/**
 * A web page that a user of this host looks at can make the browser send requests here. Browsers name the page in `Origin` on every write, which no client of
 * Consul does, and a page that had its own name lead to 127.0.0.1 in `Host`.
 */
function refuseStrangers(access: AgentAccess, c: AgentRequest): void {
  if (c.req.header('origin') !== undefined)
    throw new ConsulError(403, 'Permission denied: web pages may not use the agent');
  if (access.kind === 'open' && !isAskedAsLoopback(c.req.url))
    throw new ConsulError(403, 'Permission denied: the agent is asked as localhost, 127.0.0.1 or [::1]');
  requireToken(access, c);
}
