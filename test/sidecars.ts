import assert from 'node:assert/strict';
import type { Server, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { TLSSocket } from 'node:tls';
import { pino } from 'pino';
import { type Decision, DecisionLog } from '#edge-proxy/decisions.ts';
import { IdleSweep } from '#edge-proxy/idle-sweep.ts';
import type { Upstream } from '#edge-proxy/outbound/upstream.ts';
import type { Breaker, BreakerSnapshot } from '#edge-proxy/resilience/breaker.ts';
import { Sidecar } from '#edge-proxy/sidecar.ts';
import { Traffic } from '#edge-proxy/traffic.ts';
import type { Intention, ServiceProtocol } from '#policies/intention.ts';
import { type SpiffeId, serviceSpiffeId } from '#policies/spiffe-id.ts';
import type { FeedEndpoint, FeedJwtProvider, FeedNormalization } from '#policies/wire/feed.ts';
import type { FeedRouting, Locality } from '#policies/wire/feed-routing.ts';
import { createMetrics } from '#runtime/metrics.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import { type Svid, type SvidHolder, svidHolder } from '#runtime/svid/svid.ts';
import { handshakeTimeoutMs, type TlsVersion } from '#runtime/tls-identity.ts';
import { freePorts } from './free-ports.ts';
import { type MiniCa, makeCa, staticTrust } from './mini-ca.ts';
import { dial, type RawPeer } from './raw-client.ts';
import { waitFor } from './wait-for.ts';

/**
 * Sidecars in this process for tests: real sockets on loopback, real TLS with certificates of a mini CA, views fed by hand, a clock that can be put forward.
 * In one file: it is one mesh, whose parts know each other.
 */

/** One intention with what a test does not care about filled in. */
export function intention(
  rule: Pick<Intention, 'source' | 'action' | 'permissions' | 'jwt'> & { destination?: string },
): Intention {
  const { source, destination = 'db', action, permissions, jwt } = rule;
  return {
    source,
    destination,
    precedence: 9,
    createdAtMs: 0,
    updatedAtMs: 0,
    createIndex: 1,
    modifyIndex: 1,
    ...(action === undefined ? {} : { action }),
    ...(permissions === undefined ? {} : { permissions }),
    ...(jwt === undefined ? {} : { jwt }),
  };
}

/** `web -> db`, allowed. */
export const webMayCall: readonly Intention[] = [intention({ source: 'web', action: 'allow' })];
/** `web -> db`, denied. */
export const webMayNot: readonly Intention[] = [intention({ source: 'web', action: 'deny' })];

/** A resource of the feed as a test writes it. */
type Resources = Parameters<Sidecar['view']['apply']>[0]['resources'];

/** What of the world a mesh is made of. */
export interface MeshOptions {
  /** Applications, one an instance of `db`, not listening yet. Absent: nothing listens there. */
  readonly applications?: readonly (Server | undefined)[];
  /** Default `http`. */
  readonly protocol?: ServiceProtocol;
  /** Default `web -> db` allowed; undefined by `'unknown'`. */
  readonly intentions?: readonly Intention[] | 'unknown';
  /** Whose tokens the intentions ask for. */
  readonly jwtProviders?: readonly FeedJwtProvider[];
  /** False: no other service is called in the place of `db`. */
  readonly rerouted?: boolean;
  /** Where `web` is. */
  readonly locality?: Locality;
  /** Partial policy of the upstream. */
  readonly resilience?: object;
  /** The oldest TLS that a `db` lets its callers speak. */
  readonly tlsMinVersion?: TlsVersion;
  /** In the place of chance. */
  readonly random?: () => number;
  /** Names by which `web` calls besides `db`; the test feeds them. */
  readonly upstreams?: readonly string[];
  /** `web` has `db` not configured, but a port for all services (`httpProxyPort`). */
  readonly httpProxy?: true;
}

/** One instance of `db`. */
export interface Instance {
  readonly sidecar: Sidecar;
  readonly inboundPort: number;
  readonly trust: ReturnType<typeof staticTrust>;
  readonly svid: SvidHolder;
}

const trustDomainName = 'mesh.test';

/** Proxies of `web` and `db`, and applications behind `db`. Closes itself at the end of the test, and fails it when anything was held too long. */
export class Mesh {
  readonly ca: MiniCa = makeCa(trustDomainName);
  readonly log: Record<string, unknown>[] = [];
  readonly sweep: IdleSweep;
  readonly context: ProcessContext;
  readonly metrics = createMetrics();
  readonly traffic: Traffic;
  readonly instances: Instance[] = [];
  readonly webTrust = staticTrust(this.ca.bundle);
  readonly webSvid: SvidHolder;
  #web: Sidecar | undefined;
  #offsetMs = 0;
  /** Set: time stands, but for `pass`. */
  #stoppedMs: number | undefined;
  #revision = 0;
  readonly #options: MeshOptions;
  readonly #applications: Server[] = [];
  /** Of the applications' connections: those that the proxies have not left, and all. */
  readonly #applicationSockets = new Set<Socket>();
  readonly #allApplicationSockets = new Set<Socket>();
  readonly #peers: RawPeer[] = [];
  readonly #endings: (() => void)[] = [];
  readonly #handlesBefore = handles();

  constructor(options: MeshOptions) {
    this.#options = options;
    const logger = pino({ level: 'debug' }, { write: (line: string) => this.log.push(JSON.parse(line)) });
    const system = systemContext(logger);
    const { random = system.random } = options;
    this.context = { ...system, random, clock: () => (this.#stoppedMs ?? Date.now()) + this.#offsetMs };
    this.sweep = new IdleSweep(this.context.clock);
    const decisions = new DecisionLog(this.context.clock, this.context.randomBytes);
    this.traffic = new Traffic({ metrics: this.metrics, log: logger, accessLog: 'all', decisions });
    this.webSvid = svidHolder(this.issue('web'));
  }

  async start(): Promise<void> {
    const { applications = [], resilience = {}, protocol = 'http' } = this.#options;
    for (const application of applications) await this.#startInstance(application);
    this.#web = await this.sidecar('web', this.webSvid, this.webTrust, undefined);
    this.feedIntentions(this.#options.intentions ?? webMayCall, protocol);
    this.feedUpstream({ resilience });
  }

  get web(): Sidecar {
    assert.ok(this.#web !== undefined);
    return this.#web;
  }

  /** The first instance of `db`. */
  get db(): Instance {
    const [first] = this.instances;
    assert.ok(first !== undefined);
    return first;
  }

  get upstream(): Upstream {
    const [upstream] = this.web.upstreams;
    assert.ok(upstream !== undefined);
    return upstream;
  }

  /** That of the first instance that `web` calls. */
  get breaker(): Breaker {
    const [first] = this.web.targets.breakers;
    assert.ok(first !== undefined);
    return first.breaker;
  }

  /** Where `web` reaches `db`. */
  get port(): number {
    return this.web.outboundPorts.get('db') ?? 0;
  }

  get decisions(): Decision[] {
    return this.traffic.decisions.latest(1_000);
  }

  /** A good SVID of a service. */
  issue(service: string): Svid {
    return this.ca.issue({ spiffeId: spiffeIdOf(service) });
  }

  /** A client of `web`'s outbound port; closed with the mesh. */
  dial(port = this.port): RawPeer {
    return this.keep(dial(port));
  }

  /** Closes this connection with the mesh. */
  keep(peer: RawPeer): RawPeer {
    this.#peers.push(peer);
    return peer;
  }

  /** Has something of the test's own ended with the mesh. */
  defer(end: () => void): void {
    this.#endings.push(end);
  }

  /** Sends one request on a connection of its own and waits for the whole answer, which must end the connection. */
  async ask(request: string, port = this.port): Promise<RawPeer> {
    const peer = this.dial(port).send(request);
    await peer.untilEnded();
    peer.end();
    return peer;
  }

  /** Hands all `db`s their intentions, as the feed would. */
  feedIntentions(
    intentions: readonly Intention[] | 'unknown',
    protocol = this.#options.protocol ?? 'http',
    jwtProviders = this.#options.jwtProviders,
  ): void {
    if (intentions === 'unknown') return;
    const resource = {
      kind: 'intentions',
      name: 'db',
      protocol,
      defaultAction: 'deny',
      intentions,
      ...(jwtProviders === undefined ? {} : { jwtProviders }),
    } as Resources[number];
    for (const { sidecar } of this.instances) this.feed(sidecar, [resource]);
  }

  /** Hands `web` its upstream, as the feed would. */
  feedUpstream(
    change: {
      endpoints?: readonly FeedEndpoint[];
      resilience?: object;
      protocol?: ServiceProtocol;
      normalization?: FeedNormalization;
    } = {},
  ): void {
    const { normalization } = change;
    const { protocol = this.#options.protocol ?? 'http', resilience = this.#options.resilience ?? {} } = change;
    const endpoints = change.endpoints ?? this.instances.map(({ inboundPort }, index) => endpoint(index, inboundPort));
    const said = normalization === undefined ? {} : { normalization };
    this.feed(this.web, [{ kind: 'upstream', name: 'db', protocol, endpoints: [...endpoints], resilience, ...said }]);
  }

  /** Hands both proxies what `db` lets pass of requests, as the feed would. */
  feedNormalization(normalization: FeedNormalization): void {
    this.feedUpstream({ normalization });
    for (const { sidecar } of this.instances) this.feed(sidecar, [{ kind: 'limits', name: 'db', normalization }]);
  }

  /** Hands `web` its upstream with routes, as the feed would. */
  feedRouting(routing: FeedRouting): void {
    const { protocol = 'http' } = this.#options;
    this.feed(this.web, [{ kind: 'upstream', name: 'db', protocol, endpoints: [], resilience: {}, routing }]);
  }

  feed(sidecar: Sidecar, resources: Resources): void {
    this.#revision += 1;
    const rejected = sidecar.view.apply({ revision: this.#revision, reset: false, resources }, 'feed');
    assert.deepEqual(rejected, []);
  }

  /** The one fault that no real application gives to order: from here on it takes no connection before `release`. */
  holdApplication(): { readonly waiting: number; readonly givenUp: number; release(): void } {
    const { application } = this.db.sidecar;
    assert.ok(application !== undefined);
    const connect = application.connect.bind(application);
    const held: (() => void)[] = [];
    let givenUp = 0;
    application.connect = (onConnected, onFailure) => {
      let cancel: (() => void) | undefined;
      let wanted = true;
      held.push(() => {
        if (wanted) cancel = connect(onConnected, onFailure);
      });
      return () => {
        wanted = false;
        givenUp += 1;
        cancel?.();
      };
    };
    return {
      get waiting() {
        return held.length;
      },
      get givenUp() {
        return givenUp;
      },
      release() {
        for (const go of held.splice(0)) go();
      },
    };
  }

  /** From here on only `pass` puts the clock forward, however slow this machine is. */
  stopClock(): void {
    this.#stoppedMs = Date.now();
  }

  /** Puts the clock forward, and has all idle connections looked at. */
  pass(ms: number): void {
    this.#offsetMs += ms;
    this.sweep.sweep();
  }

  /** Nothing is under way: every call has given back all that it held. */
  get settled(): boolean {
    return (
      this.upstream.inFlight === 0 &&
      this.instances.every(({ sidecar }) => sidecar.live.size === 0) &&
      this.#breakersAtRest
    );
  }

  get #breakersAtRest(): boolean {
    const atRest = ({ underWay, probing }: BreakerSnapshot) => underWay === 0 && !probing;
    return (
      this.upstream.endpoints.every(({ inFlight }) => inFlight === 0) &&
      this.web.targets.breakers.every(({ breaker }) => atRest(breaker.snapshot()))
    );
  }

  async sidecar(
    service: string,
    svid: SvidHolder,
    trust: ReturnType<typeof staticTrust>,
    local: Server | undefined | number,
  ): Promise<Sidecar> {
    const loopback = (port: number) => ({ host: '127.0.0.1', port });
    const identity: MeshIdentity = {
      trust: Object.assign(trust, { acceptSigned: async () => true, sequence: 1, signed: undefined }),
      trustDomain: this.ca.trustDomain,
      datacenter: 'dc1',
      svid: () => svid,
      fetchJwtSvid: () => Promise.reject(new Error('no JWT-SVIDs here')),
      close: async () => {},
    };
    const localPort = typeof local === 'number' ? local : local === undefined ? undefined : portOf(local);
    const sidecar = await Sidecar.start(
      {
        service,
        serviceId: service,
        local: localPort === undefined ? undefined : loopback(localPort),
        listen: loopback(0),
        advertise: undefined,
        ...(localPort !== undefined
          ? { upstreams: [] }
          : this.#options.httpProxy
            ? { upstreams: [], httpProxyAddr: loopback(0) }
            : {
                upstreams: ['db', ...(this.#options.upstreams ?? [])].map((name) => ({
                  service: name,
                  address: loopback(0),
                })),
              }),
      },
      {
        identity,
        catalogUrl: 'http://127.0.0.1:1',
        nodeName: 'node',
        dataDir: undefined,
        maxCacheAgeMs: 0,
        maxConnections: 1_000,
        tlsMinVersion: this.#options.tlsMinVersion,
        locality: this.#options.locality,
        rerouted: this.#options.rerouted ?? true,
        traffic: this.traffic,
        sweep: this.sweep,
        process: this.context,
        onCatalog() {},
        signal: AbortSignal.abort(), // no feed: the test feeds
      },
    );
    await sidecar.listen();
    return sidecar;
  }

  async #startInstance(application: Server | undefined): Promise<void> {
    const port = application === undefined ? await closedPort() : await this.#listen(application);
    const trust = staticTrust(this.ca.bundle);
    const svid = svidHolder(this.issue('db'));
    const sidecar = await this.sidecar('db', svid, trust, port);
    this.instances.push({ sidecar, trust, svid, inboundPort: sidecar.inboundPort ?? 0 });
  }

  #listen(application: Server): Promise<number> {
    this.#applications.push(application);
    application.on('connection', (socket: Socket) => {
      this.#applicationSockets.add(socket);
      this.#allApplicationSockets.add(socket);
      socket.on('error', () => {}); // a test that breaks connections breaks them here too
      socket.on('end', () => this.#applicationSockets.delete(socket));
      socket.on('close', () => this.#applicationSockets.delete(socket));
    });
    return listening(application);
  }

  /** Connections that the applications have open. */
  get applicationConnections(): number {
    return this.#applicationSockets.size;
  }

  /** Ends all, and fails when something is left that should have ended with its caller. */
  async close(): Promise<void> {
    try {
      for (const { socket } of this.#peers) vanish(socket);
      if (this.#web !== undefined) await waitFor('every call to give back what it holds', () => this.settled);
    } finally {
      await this.#web?.close();
      for (const { sidecar } of this.instances) await sidecar.close();
      await waitFor('all guards to be released', () => this.sweep.size === 0);
      this.sweep.close();
      for (const end of this.#endings) end();
      for (const application of this.#applications) application.close();
      try {
        await waitFor('the proxies to leave the applications', () => this.#applicationSockets.size === 0);
      } finally {
        for (const socket of this.#allApplicationSockets) socket.destroy();
      }
    }
    await waitFor(
      `sockets and timers to be gone: ${JSON.stringify(handles())}, before: ${JSON.stringify(this.#handlesBefore)}`,
      () => {
        const now = handles();
        return Object.keys(now).every((kind) => (now[kind] ?? 0) <= (this.#handlesBefore[kind] ?? 0));
      },
      handshakeTimeoutMs + 2_000, // a peer that hung up within its handshake is waited for that long
    );
  }
}

/** Starts a mesh that closes with the test. */
export async function startMesh(t: TestContext, options: MeshOptions = {}): Promise<Mesh> {
  const mesh = new Mesh(options);
  t.after(() => mesh.close());
  await mesh.start();
  return mesh;
}

/** `spiffe://mesh.test/ns/default/dc/dc1/svc/<service>` */
export function spiffeIdOf(service: string): SpiffeId {
  return serviceSpiffeId({ trustDomain: makeName(), namespace: 'default', datacenter: 'dc1', service });
}

/** An instance as the feed names it. */
export function endpoint(index: number, port: number, change: Partial<FeedEndpoint> = {}): FeedEndpoint {
  return {
    id: `node/db${index}`,
    node: 'node',
    address: '127.0.0.1',
    port,
    spiffeId: spiffeIdOf('db'),
    status: 'passing',
    weight: 1,
    ...change,
  };
}

/** Listens on loopback. @returns the port */
export function listening(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(portOf(server))));
}

/** A port at which nothing listens. */
export async function closedPort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

function portOf(server: Server): number {
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

function makeName(): Parameters<typeof serviceSpiffeId>[0]['trustDomain'] {
  return trustDomainName as Parameters<typeof serviceSpiffeId>[0]['trustDomain'];
}

/** Ends a connection as the host of a killed process does. */
export function vanish(socket: Socket): void {
  if (socket instanceof TLSSocket || socket.destroyed || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** What keeps this process alive now, by kind; standard streams aside. */
function handles(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (!/^(TCP|TLS|Timeout)/.test(kind)) continue;
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}
