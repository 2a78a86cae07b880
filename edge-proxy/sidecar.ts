import { settingsFor } from '#policies/caller-settings.ts';
import type { Verdict } from '#policies/intention-decision.ts';
import type { Locality } from '#policies/wire/feed-routing.ts';
import type { Clock } from '#runtime/clock.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { formatSocketAddress, type SocketAddress } from '#runtime/socket-address.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TlsVersion } from '#runtime/tls-identity.ts';
import type { ByteStream } from './byte-stream.ts';
import { reportCalls } from './calls/calls-report.ts';
import { RecentCalls } from './calls/recent-calls.ts';
import type { SidecarConfig } from './configuration.ts';
import { ForcedBreakers } from './forced-breakers.ts';
import type { IdleSweep } from './idle-sweep.ts';
import { LocalApplication } from './inbound/application.ts';
import { type InboundContext, identityHeaders } from './inbound/inbound-context.ts';
import { InboundListener } from './inbound/listener.ts';
import { LiveStreams } from './inbound/live-streams.ts';
import { LinkedSet } from './linked-set.ts';
import { type AddressedContext, serveAddressed } from './outbound/addressed-connection.ts';
import { CallsOfTargets } from './outbound/calls-of-targets.ts';
import type { OutboundContext } from './outbound/http-connection.ts';
import { OutboundListener } from './outbound/listener.ts';
import { MeshListeners } from './outbound/mesh-listeners.ts';
import { type NamedContext, serveNamed } from './outbound/named-connection.ts';
import { serveConnection } from './outbound/serve-connection.ts';
import { Upstream } from './outbound/upstream.ts';
import { UpstreamSet } from './outbound/upstream-set.ts';
import { InstanceLimiter } from './resilience/instance-limiter.ts';
import { RequestLimiter } from './resilience/request-limiter.ts';
import type { Drainable, ServingSet } from './server-stream.ts';
import type { Traffic } from './traffic.ts';
import { FeedClient } from './view/feed-client.ts';
import { ServiceView } from './view/service-view.ts';
import { ViewCache } from './view/view-cache.ts';

const inboundIdleTimeoutMs = 3_600_000;
/** How late an intention, or a token, may be seen to have expired. Asked again and again, for a timer does not follow a clock that is set. */
const expiryCheckMs = 500;

/** What the sidecars of one process share. */
export interface SidecarWorld {
  readonly identity: MeshIdentity;
  readonly catalogUrl: string;
  readonly nodeName: string;
  readonly dataDir: string | undefined;
  /** How old the local copy on disk may be at the start. */
  readonly maxCacheAgeMs: number;
  readonly maxConnections: number;
  readonly tlsMinVersion?: TlsVersion | undefined;
  /** False: calls of an upstream are answered by itself or by nobody, whatever config entries say. */
  readonly rerouted?: boolean;
  /** Where this host is. */
  readonly locality?: Locality | undefined;
  readonly traffic: Traffic;
  readonly sweep: IdleSweep;
  readonly process: ProcessContext;
  readonly signal: AbortSignal;
  /** The catalog is there, for the first time or again. */
  onCatalog(): void;
}

/**
 * Everything that one service has of its own: SVID, local copy of the catalog with its feed, inbound listener, upstreams and their listeners. Two services
 * of a process share no tunnel and no view.
 */
export class Sidecar {
  readonly config: SidecarConfig;
  readonly view: ServiceView;
  readonly svid: SvidSource;
  readonly feed: FeedClient;
  /** Bound addresses: the inbound port, and each upstream's. */
  inboundPort: number | undefined;
  readonly outboundPorts = new Map<string, number>();
  /** Where the application names the service that it wants. */
  httpProxyPort: number | undefined;
  /** The addresses of `<service>.mesh`, where this service is the one that calls by them. */
  readonly meshListeners: MeshListeners | undefined;
  readonly live = new LiveStreams();
  /** How the service was called since that was last told to the catalog. */
  readonly calls = new RecentCalls();
  readonly #reporting: Promise<void>;
  readonly application: LocalApplication | undefined;
  /** Breakers of its calls that an operator holds open or closed. */
  readonly forcedBreakers: ForcedBreakers;
  /** What its calls have shown of whom they go to. */
  readonly targets: CallsOfTargets;
  readonly #world: SidecarWorld;
  readonly #cache: ViewCache | undefined;
  readonly #upstreams: UpstreamSet;
  #inbound: InboundListener | undefined;
  readonly #outbound: OutboundListener[] = [];
  readonly #expiry: NodeJS.Timeout;
  /** Connections that come from this process and last. */
  readonly #lasting = new LinkedSet<Drainable>();
  #draining = false;
  /** What is on disk is a successor's. */
  #aside = false;

  /** Starts to follow the catalog; `listen` opens the doors. */
  private constructor(
    config: SidecarConfig,
    world: SidecarWorld,
    view: ServiceView,
    cache: ViewCache | undefined,
    forced: ForcedBreakers,
  ) {
    this.config = config;
    this.view = view;
    this.forcedBreakers = forced;
    this.targets = new CallsOfTargets(config.service, forced, world.process);
    this.#world = world;
    this.#cache = cache;
    this.svid = world.identity.svid(config.service);
    this.application = applicationOf(config, world.process.clock);
    this.#upstreams = new UpstreamSet({
      view,
      configured: config.upstreams.map(({ service }) => service),
      learns: config.httpProxyAddr !== undefined || config.meshListeners === true || config.inProcess !== undefined,
      make: (name) => this.#makeUpstream(name),
      onNames: () => this.feed.renew(),
      feedState: () => this.feed.state,
    });
    view.onInbound(() => {
      const cut = this.live.judgeAgain();
      if (cut > 0)
        world.process.log.warn(
          { service: config.service, cut, revision: view.revision },
          'intentions changed: cut what they deny now',
        );
    });
    this.meshListeners = config.meshListeners === true ? this.#makeMeshListeners() : undefined;
    this.#expiry = setInterval(() => {
      view.expire();
      const cut = this.live.judgeEnded(world.process.clock());
      if (cut > 0) world.process.log.info({ service: config.service, cut }, 'tokens expired: cut what they had let in');
    }, expiryCheckMs).unref();
    this.feed = new FeedClient({
      view,
      meshNames: config.meshListeners === true,
      upstreams: () => this.#upstreams.names(),
      catalogUrl: world.catalogUrl,
      identity: world.identity,
      context: world.process,
      signal: world.signal,
      proxyId: `${world.nodeName}/${config.serviceId}`,
      onLive: () => world.onCatalog(),
      onApplied: () => {
        if (!this.#aside) cache?.save(view);
      },
    });
    this.#reporting = reportCalls({
      service: config.service,
      calls: this.calls,
      catalogUrl: world.catalogUrl,
      identity: world.identity,
      context: world.process,
      signal: world.signal,
    });
  }

  /** Loads what was known at the last run, then starts. */
  static async start(config: SidecarConfig, world: SidecarWorld): Promise<Sidecar> {
    const view = new ServiceView(config.service, world.process.clock);
    const cache =
      world.dataDir === undefined ? undefined : new ViewCache(world.dataDir, config.service, world.process.log);
    await cache?.load(view, world.process.clock() - world.maxCacheAgeMs);
    const forced = await ForcedBreakers.load(config.service, world.dataDir, world.process);
    return new Sidecar(config, world, view, cache, forced);
  }

  /** Opens the listeners. The SVID must be there. Throws SLV-1004. */
  async listen(): Promise<void> {
    const { config } = this;
    const { traffic, sweep, process, identity } = this.#world;
    const own = this.svid.current;
    if (this.application !== undefined && own !== undefined) {
      const limiter = new RequestLimiter(process.clock);
      const instanceLimiter = new InstanceLimiter(process.clock);
      const limit = () => {
        limiter.update(this.view.requestLimit);
        instanceLimiter.update(this.view.instanceLimits);
      };
      limit();
      this.view.onLimit(limit);
      const context: InboundContext = {
        view: this.view,
        application: this.application,
        traffic,
        sweep,
        serving: new LinkedSet(),
        randomBytes: process.randomBytes,
        live: this.live,
        calls: this.calls,
        limiter,
        instanceLimiter,
        idleTimeoutMs: inboundIdleTimeoutMs,
        nothingKnown: nothingKnown(config.service),
        draining: () => this.#draining,
        identityOf: identityHeaders(own.spiffeId),
      };
      this.#inbound = new InboundListener({ ...this.#world, svid: this.svid, trust: identity.trust, context });
      this.inboundPort = await this.#inbound.listen(config.listen);
      process.log.info(
        { service: config.service, address: formatSocketAddress({ ...config.listen, port: this.inboundPort }) },
        'inbound listening',
      );
    }
    for (const { service, address } of config.upstreams) {
      const upstream = this.#upstreams.configured(service);
      if (upstream === undefined) continue;
      const serving = new LinkedSet<Drainable>();
      const context = this.#outboundContext(upstream, serving);
      const addressed = this.#addressedContext(() => context);
      const port = await this.#listenOutbound(address, serving, (stream) => {
        if (upstream.known) serveConnection(stream, context);
        else serveAddressed(stream, service, addressed);
      });
      this.outboundPorts.set(service, port);
      process.log.info(
        { service: config.service, upstream: service, address: formatSocketAddress({ ...address, port }) },
        'outbound listening',
      );
    }
    if (config.httpProxyAddr !== undefined) await this.#listenHttpProxy(config.httpProxyAddr);
  }

  /** Upstreams of the configuration, and those that the application asked for by name. */
  get upstreams(): readonly Upstream[] {
    return this.#upstreams.all;
  }

  /** Where others reach this service, once it listens. */
  get advertised(): { host: string; port: number } | undefined {
    if (this.inboundPort === undefined) return undefined;
    return this.config.advertise ?? { host: this.config.listen.host, port: this.inboundPort };
  }

  /** Whether this service can do its work: it has an SVID and knows its intentions. */
  get ready(): boolean {
    return this.svid.current !== undefined && (this.application === undefined || this.view.inbound !== undefined);
  }

  /** A successor starts with what is on disk. What is known here stays current, for what is under way. @returns takes that back */
  async stepAside(): Promise<() => void> {
    this.#aside = true;
    const takeBack = [this.feed.stepAside(), this.forcedBreakers.stepAside()];
    await this.forcedBreakers.settled();
    return () => {
      this.#aside = false;
      for (const undo of takeBack) undo();
    };
  }

  /**
   * No new connections; what is under way goes on.
   *
   * @param idleMs how long idle connections stay, for a next request of theirs; absent: not at all, but for a moment inbound
   */
  drain(idleMs?: number): void {
    this.#draining = true;
    this.#inbound?.drain(idleMs);
    for (const listener of this.#outbound) listener.drain(idleMs);
    this.meshListeners?.drain(idleMs);
    for (const connection of this.#lasting.all()) connection.drain();
  }

  /** Nothing is under way any more. */
  get drained(): boolean {
    const inbound = this.#inbound === undefined || (this.#inbound.drained && this.live.size === 0);
    const named = this.meshListeners === undefined || this.meshListeners.openConnections === 0;
    return inbound && named && this.#outbound.every((listener) => listener.openConnections === 0);
  }

  async close(): Promise<void> {
    clearInterval(this.#expiry);
    this.#inbound?.close();
    for (const listener of this.#outbound) listener.close();
    this.meshListeners?.close();
    this.#upstreams.close();
    this.application?.close();
    await this.feed.ended();
    await this.#reporting;
    await this.#cache?.settled();
    await this.forcedBreakers.settled();
  }

  #makeUpstream(name: string): Upstream {
    const { identity, traffic, process } = this.#world;
    const { service } = this.config;
    return new Upstream({
      name,
      service,
      svid: this.svid,
      identity,
      process,
      edge: traffic.edge('outbound', service, name),
      locality: this.#world.locality,
      rerouted: this.#world.rerouted !== false,
      edgeTo: (other) => traffic.edge('outbound', service, other),
      calls: this.targets,
      settingsFor: (upstream) => settingsFor(this.view.calling, upstream),
    });
  }

  /** @param serving of the listener */
  #outboundContext(upstream: Upstream, serving: ServingSet): OutboundContext {
    const { traffic, sweep, process } = this.#world;
    return {
      service: this.config.service,
      upstream,
      traffic,
      edge: upstream.edge,
      sweep,
      serving: upstream.servingAt(serving),
      randomBytes: process.randomBytes,
      draining: () => this.#draining || upstream.closed,
    };
  }

  #addressedContext(contextOf: AddressedContext['contextOf']): AddressedContext {
    const { traffic, sweep } = this.#world;
    return { service: this.config.service, upstreams: this.#upstreams, traffic, sweep, contextOf };
  }

  /** They open once `setReserved` has told what to keep clear of. */
  #makeMeshListeners(): MeshListeners {
    const { process, maxConnections } = this.#world;
    const { service } = this.config;
    const listeners = new MeshListeners({
      service,
      process,
      maxConnections,
      serve: (destination, stream, serving) =>
        serveAddressed(
          stream,
          destination,
          this.#addressedContext((upstream) => this.#outboundContext(upstream, serving)),
        ),
    });
    listeners.setNames(this.view.meshNames);
    this.view.onMeshNames(() => listeners.setNames(this.view.meshNames));
    return listeners;
  }

  /** Takes a connection of an application in this process, which names the services that it wants. @param lasts until it is drained */
  serveNamed(stream: ByteStream, lasts: boolean): void {
    serveNamed(stream, this.#namedContext(lasts ? this.#lasting : new LinkedSet()));
  }

  #namedContext(serving: LinkedSet<Drainable>): NamedContext {
    const { traffic, sweep, identity, process } = this.#world;
    const { service } = this.config;
    return {
      service,
      datacenter: identity.datacenter,
      upstreams: this.#upstreams,
      traffic,
      sweep,
      serving,
      randomBytes: process.randomBytes,
      draining: () => this.#draining,
      contextOf: (upstream) => this.#outboundContext(upstream, serving),
    };
  }

  /** One port for all services: who connects names the one that it wants, and acts as this service. */
  async #listenHttpProxy(address: SocketAddress): Promise<void> {
    const { process } = this.#world;
    const { service } = this.config;
    const serving = new LinkedSet<Drainable>();
    const context = this.#namedContext(serving);
    const port = await this.#listenOutbound(address, serving, (stream) => serveNamed(stream, context));
    this.httpProxyPort = port;
    process.log.info({ service, address: formatSocketAddress({ ...address, port }) }, 'HTTP proxy listening');
  }

  /** @returns the bound port */
  #listenOutbound(
    address: SocketAddress,
    serving: LinkedSet<Drainable>,
    serve: (stream: ByteStream) => void,
  ): Promise<number> {
    const { process, maxConnections } = this.#world;
    const listener = new OutboundListener({ serving, serve, process, maxConnections });
    this.#outbound.push(listener);
    return listener.listen(address);
  }
}

function applicationOf({ local, inProcess }: SidecarConfig, clock: Clock): LocalApplication | undefined {
  if (inProcess?.http1 !== undefined || inProcess?.http2 !== undefined) return new LocalApplication(inProcess, clock);
  return local === undefined ? undefined : new LocalApplication(local, clock);
}

function nothingKnown(service: string): Verdict {
  return { allowed: false, rule: 'none', reason: `the proxy of ${service} knows no intentions yet`, revision: 0 };
}
