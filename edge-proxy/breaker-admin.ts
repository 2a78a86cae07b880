import { type Context, Hono } from 'hono';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Logger } from '#runtime/logging.ts';
import type { Endpoint } from './outbound/endpoint.ts';
import type { Sidecar } from './sidecar.ts';

/** What an operator may do to a breaker. Open and closed hold until reset, or until the proxy restarts. */
const actions = {
  'force-open': ({ breaker }: Endpoint) => breaker.forceOpen(),
  'force-closed': ({ breaker }: Endpoint) => breaker.forceClosed(),
  reset: ({ breaker }: Endpoint) => breaker.reset(),
} as const;

/** `GET /breakers`, and `POST /breakers/force-open|force-closed|reset?upstream=db[&endpoint=node/db][&service=web]`. */
export function breakerRoutes(sidecars: readonly Sidecar[], log: Logger): Hono {
  const app = new Hono();
  app.get('/breakers', (c) => c.json(found(sidecars, {}).map(view)));
  for (const [action, act] of Object.entries(actions)) {
    app.post(`/breakers/${action}`, (c) => {
      refusePages(c);
      const { upstream, endpoint, service } = c.req.query();
      if (upstream === undefined) throw new MeshError('SLV-1009', 'Say whose breakers: ?upstream=NAME.');
      const which = found(sidecars, { upstream, endpoint, service });
      if (which.length === 0) throw new MeshError('SLV-1010', 'No breaker here is of that upstream and endpoint.');
      for (const each of which) act(each.endpoint);
      log.warn({ audit: `breaker-${action}`, upstream, endpoint, service }, 'breakers set by an operator');
      return c.json(which.map(view));
    });
  }
  return app;
}

interface Found {
  readonly service: string;
  readonly upstream: string;
  readonly endpoint: Endpoint;
}

interface Wanted {
  readonly upstream?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly service?: string | undefined;
}

function found(sidecars: readonly Sidecar[], wanted: Wanted): Found[] {
  const { upstream = undefined, endpoint = undefined, service = undefined } = wanted;
  return sidecars.flatMap((sidecar) =>
    sidecar.upstreams.flatMap(({ name, endpoints }) =>
      endpoints
        .map((each) => ({ service: sidecar.config.service, upstream: name, endpoint: each }))
        .filter(
          (each) =>
            (upstream === undefined || each.upstream === upstream) &&
            (endpoint === undefined || each.endpoint.id === endpoint) &&
            (service === undefined || each.service === service),
        ),
    ),
  );
}

function view({ service, upstream, endpoint }: Found): object {
  return { service, upstream, endpoint: endpoint.id, ...endpoint.breaker.snapshot() };
}

/** The admin API has no authentication: a page in a browser of this host must not set anything. Under a name of its own it is kept out of all (`admin.ts`). */
function refusePages(c: Context): void {
  if (c.req.header('origin') !== undefined) throw new MeshError('SLV-1009', 'Web pages may not set breakers.');
}
