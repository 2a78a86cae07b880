import { type Agent, createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import { hostname } from 'node:os';
import { type Duplex, duplexPair } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { createAgent, type Agent as MeshRegistration } from '#edge-proxy/agent/agent.ts';
import { createCatalogClient } from '#edge-proxy/agent/catalog-client.ts';
import { DecisionLog } from '#edge-proxy/decisions.ts';
import { IdleSweep } from '#edge-proxy/idle-sweep.ts';
import { Sidecar } from '#edge-proxy/sidecar.ts';
import { Traffic } from '#edge-proxy/traffic.ts';
import { parseServiceName } from '#policies/service-name.ts';
import { createLogger } from '#runtime/logging.ts';
import { createMetrics } from '#runtime/metrics.ts';
import { systemContext } from '#runtime/process-context.ts';
import { formatSocketAddress, parseSocketAddress } from '#runtime/socket-address.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { duplexStream } from './duplex-stream.ts';
import { MeshAgent } from './mesh-agent.ts';
import { meshFetch } from './mesh-fetch.ts';

/** What a service needs to join a mesh. URLs, files and names as in `selvedge serve edge-proxy`. */
export interface MeshOptions {
  /** Name of this service. */
  readonly service: string;
  /** Identity service: `https://10.0.0.1:8510`. */
  readonly identity: string;
  /** Catalog: `https://10.0.0.1:8501`. */
  readonly catalog: string;
  /** PEM roots that must be behind the identity service; this or `caPin`. */
  readonly caFile?: string;
  /** `sha256:HEX` of the root key. */
  readonly caPin?: string;
  /** File with the join token: read at the first start only. */
  readonly joinTokenFile?: string;
  /** Node key, SVIDs and the local copy of the catalog, 0600. Without it each start joins anew. */
  readonly dataDir?: string;
  /** Name of this host in the catalog; default its own. */
  readonly nodeName?: string;
  /** Id of this instance; default the service's name. */
  readonly serviceId?: string;
  /** Absent: a service that only calls. */
  readonly serve?: {
    /** `10.0.0.7:21000`; port 0: any free one. */
    readonly listen: string;
    /** What to tell others instead. */
    readonly advertise?: string;
    /** Is called for requests that an intention allows, and for no others: of a service of protocol `http`. */
    readonly application?: RequestListener;
    /**
     * The same for a service of protocol `http2` or `grpc`: takes a connection in HTTP/2, on which such requests come. Of a server of node:http2 that does not listen:
     * `(connection) => server.emit('connection', connection)`.
     */
    readonly http2?: (connection: Duplex) => void;
  };
  /** Default `warn`; JSON lines on standard error. */
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Gives up joining. */
  readonly signal?: AbortSignal;
}

/** A service that is in the mesh. */
export interface Mesh {
  readonly spiffeId: string;
  /** `host:port` at which others reach it; undefined for one that only calls. */
  readonly address: string | undefined;
  /** For `http.request` and what is built on it: `http://db.mesh/orders`. */
  readonly agent: Agent;
  /** As the global `fetch`, for services of the mesh: `http://db.mesh/orders`. Refusals of the mesh are answers, with problem details. */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /**
   * A connection to all services of the mesh, for clients that take one, in HTTP/1.1 or HTTP/2, gRPC too: `connect('http://db.mesh', { createConnection:
   * mesh.connect })` of node:http2.
   */
  readonly connect: () => Duplex;
  /** Deregisters, lets what is under way finish for up to `graceMs` (default 10 s), then leaves. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Joins the mesh: gets an identity, follows the catalog, and serves, all in this process. Resolves once the service has its SVID and listens.
 *
 * @throws Error with `code` of docs/errors.md, as an edge proxy at its start
 */
export async function joinMesh(options: MeshOptions): Promise<Mesh> {
  const service = parseServiceName(options.service);
  const { serve, dataDir, serviceId = service, nodeName = hostname() } = options;
  const listen = parseSocketAddress(serve?.listen ?? '127.0.0.1:0');
  const advertise = serve?.advertise === undefined ? undefined : parseSocketAddress(serve.advertise);
  const log = createLogger({ process: 'native', level: options.logLevel ?? 'warn' });
  const context = systemContext(log);
  const stopping = new AbortController();
  const identity = await openMeshIdentity({
    identityUrl: options.identity,
    services: [service],
    stateDir: dataDir,
    joinTokenFile: options.joinTokenFile,
    caFile: options.caFile,
    caPin: options.caPin,
    nodeName,
    context,
    svidTtlSeconds: undefined,
    signal: options.signal ?? stopping.signal,
  });
  const decisions = new DecisionLog(context.clock, context.randomBytes);
  const sweep = new IdleSweep(context.clock);
  const application = serve?.application && createServer({ keepAliveTimeout: 0 }, serve.application);
  const http1 =
    application && (() => duplexStream(connectTo((connection) => application.emit('connection', connection))));
  const takes = serve?.http2;
  let registration: MeshRegistration | undefined;
  const sidecar = await Sidecar.start(
    {
      service,
      serviceId,
      local: undefined,
      listen,
      advertise,
      upstreams: [],
      inProcess: { http1, http2: takes && (() => connectTo(takes)) },
    },
    {
      identity,
      catalogUrl: options.catalog,
      nodeName,
      dataDir,
      maxCacheAgeMs: maxCacheAgeMs,
      maxConnections: 10_000,
      traffic: new Traffic({ metrics: createMetrics(), log, accessLog: 'errors', decisions }),
      sweep,
      process: context,
      signal: stopping.signal,
      onCatalog: () => registration?.catalogReturned(),
    },
  );
  await sidecar.listen();
  registration = createAgent({
    nodeName,
    nodeAddress: sidecar.advertised?.host ?? listen.host,
    datacenter: identity.datacenter,
    catalog: createCatalogClient({
      url: options.catalog,
      trust: options.catalog.startsWith('https:') ? identity.trust : undefined,
      svidFor: () => identity.svid(service).current,
      clock: context.clock,
    }),
    authorize: () => ({ allowed: false, rule: 'none', reason: 'not asked' }), // its API is not served
    access: { kind: 'open' },
    context,
    signal: stopping.signal,
  });
  const { advertised } = sidecar;
  registration.register({
    ID: serviceId,
    Name: service,
    ...(advertised === undefined
      ? {}
      : {
          Address: advertised.host,
          Port: advertised.port,
          Connect: { Native: true },
          Checks: [
            {
              CheckID: `service:${serviceId}`,
              Name: `${service} listens`,
              TCP: formatSocketAddress(advertised),
              Interval: '10s',
              Timeout: '5s',
            },
          ],
        }),
  });
  const agent = new MeshAgent(sidecar);
  return {
    spiffeId: sidecar.svid.current?.spiffeId ?? '',
    address: advertised && formatSocketAddress(advertised),
    agent,
    fetch: (input, init = {}) => meshFetch(agent, input, init),
    connect: () => agent.connect(),
    async close(graceMs = 10_000) {
      await registration?.close();
      sidecar.drain();
      const deadlineMs = performance.now() + graceMs;
      const drained = (): boolean => sidecar.drained && agent.connections === 0;
      while (performance.now() < deadlineMs && !drained()) await wait(drainLookMs);
      stopping.abort(new Error('stopped'));
      agent.destroy();
      await sidecar.close();
      application?.close();
      application?.closeAllConnections();
      sweep.close();
      await identity.close();
    },
  };
}

/** SPIFFE ID of who calls: proven by mTLS, and allowed. For requests that came to `serve.application`. */
export function callerOf(request: { readonly headers: IncomingHttpHeaders }): string {
  const { 'selvedge-source': source } = request.headers;
  if (typeof source !== 'string') throw new TypeError('not a request that came through the mesh');
  return source;
}

/** As `--max-cache-age` has it by default. */
const maxCacheAgeMs = 7 * 86_400_000;
const drainLookMs = 20;

/** A connection to a server of this process. */
function connectTo(take: (connection: Duplex) => void): Duplex {
  const [near, far] = duplexPair();
  near.on('close', () => far.destroy());
  far.on('close', () => near.destroy());
  take(far);
  return near;
}
