import type { z } from 'zod';
import type { Calling } from '#policies/caller-settings.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Intention, ServiceProtocol } from '#policies/intention.ts';
import { type CompiledIntentions, compileIntentions } from '#policies/intention-decision.ts';
import { type RequestNormalization, strictNormalization } from '#policies/request-normalization.ts';
import type { RequestLimitPolicy, ResiliencePolicy } from '#policies/resilience.ts';
import { parseResiliencePolicy } from '#policies/resilience-form.ts';
import { compileInstanceLimits, type InstanceLimit } from '#policies/routing/instance-limits.ts';
import { type CompiledRoute, compileRouteTable } from '#policies/routing/route-table.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import {
  type FeedEndpoint,
  type FeedIntentions,
  type FeedLimits,
  type FeedResource,
  type FeedUpstream,
  feedIntentionsSchema,
  feedLimitsSchema,
  feedMeshNamesSchema,
  feedUpstreamSchema,
} from '#policies/wire/feed.ts';
import type { FeedLoadBalancer, FeedTarget } from '#policies/wire/feed-routing.ts';
import type { Clock } from '#runtime/clock.ts';
import { TokenProvider } from '../tokens/token-provider.ts';
import { listenable, type MeshName } from './mesh-names.ts';

/** What a local service knows of one upstream. */
export interface UpstreamView {
  readonly name: string;
  readonly protocol: ServiceProtocol;
  /** What it lets pass of requests. */
  readonly normalization: RequestNormalization;
  /** Where its calls go, by name. Without routes there is one destination with one target, both named after the upstream. */
  readonly destinations: ReadonlyMap<string, DestinationView>;
  /** Undefined: all calls go to the one destination. */
  readonly routes: readonly CompiledRoute[] | undefined;
}

/** Whether there is anybody to call, wherever its routes lead. */
export function knowsInstances({ destinations }: UpstreamView): boolean {
  for (const { targets } of destinations.values())
    if (targets.some(({ endpoints }) => endpoints.length > 0)) return true;
  return false;
}

/** One place where calls of an upstream may go. */
export interface DestinationView {
  /** At least one: the first with a healthy instance is called. */
  readonly targets: readonly TargetView[];
  /** Undefined: the balancer of the first target's policy. */
  readonly loadBalancer: FeedLoadBalancer | undefined;
  /** A destination that gets a copy of a share of the requests. */
  readonly mirror?: { readonly destination: string; readonly share: number } | undefined;
}

/** Instances of one service. */
export interface TargetView {
  readonly name: string;
  /** The target that these are the near, or far, instances of; undefined: they are all of their own. */
  readonly partOf?: string | undefined;
  readonly service: string;
  readonly endpoints: readonly FeedEndpoint[];
  readonly resilience: ResiliencePolicy;
  /** Instances that are near are called first. */
  readonly byLocality: boolean;
}

/** Who may call the local service, ready to decide. */
export interface InboundView {
  readonly protocol: ServiceProtocol;
  readonly intentions: CompiledIntentions;
  /** Whose tokens the intentions ask for, by name. */
  readonly tokens: ReadonlyMap<string, TokenProvider>;
}

/** A resource that was refused, and why: told to the catalog in the acknowledgement. */
export interface Rejected {
  readonly kind: string;
  readonly name: string;
  readonly reason: string;
}

/** Where the present view came from. `nothing`: everything is denied. */
export type ViewOrigin = 'nothing' | 'cache' | 'feed';

/**
 * The local copy of the catalog for one local service: its own intentions and its upstreams. The data path reads it and never waits for it
 * (invariant 4). A resource that can't be understood leaves the last good one in force, and denies where there is none.
 */
export class ServiceView {
  readonly service: string;
  /** Undefined: no intentions known, deny. */
  inbound: InboundView | undefined;
  readonly upstreams = new Map<string, UpstreamView>();
  /** What each caller may ask of the local service; undefined: as much as it likes. */
  requestLimit: RequestLimitPolicy | undefined;
  /** What the local service lets pass of requests. */
  normalization: RequestNormalization = strictNormalization;
  /** What this instance takes of all callers together. */
  instanceLimits: readonly InstanceLimit[] = [];
  /** What the local service says of its calls. */
  calling: Calling = {};
  /** Where names of the mesh lead, if the feed was asked for it. */
  meshNames: readonly MeshName[] = [];
  /** Catalog revision up to which this view is current. */
  revision = 0;
  origin: ViewOrigin = 'nothing';
  /** When the catalog last confirmed this view, ms since the epoch; 0 never. */
  confirmedAtMs = 0;

  readonly #inboundListeners = new Set<() => void>();
  readonly #limitListeners = new Set<() => void>();
  readonly #meshNamesListeners = new Set<() => void>();
  readonly #upstreamListeners = new Map<string, Set<(view: UpstreamView | undefined) => void>>();
  /** The resources as received, for the cache on disk. */
  readonly #resources = new Map<string, FeedResource>();
  readonly #clock: Clock;
  /** By what they were made of. */
  #tokens: ReadonlyMap<string, TokenProvider> = new Map();
  /** What `inbound` was made of, and of which revision. */
  #intentions: { readonly resource: FeedIntentions; readonly revision: number } | undefined;

  constructor(service: string, clock: Clock) {
    this.service = service;
    this.#clock = clock;
  }

  /** To be called every now and then: what has expired meanwhile has no effect any more, whether the catalog is there or not. */
  expire(): void {
    const untilMs = this.inbound?.intentions.untilMs;
    if (untilMs === undefined || this.#intentions === undefined || this.#clock() < untilMs) return;
    this.#compile(this.#intentions);
  }

  /** Calls back whenever the intentions or the protocol of the local service changed. */
  onInbound(listener: () => void): void {
    this.#inboundListeners.add(listener);
  }

  /** Calls back whenever `requestLimit` and `instanceLimits` were told anew. */
  onLimit(listener: () => void): void {
    this.#limitListeners.add(listener);
  }

  /** Calls back whenever names of the mesh came or went. */
  onMeshNames(listener: () => void): void {
    this.#meshNamesListeners.add(listener);
  }

  /** Calls back whenever this upstream changed, also when it went. @returns ends that */
  onUpstream(name: string, listener: (view: UpstreamView | undefined) => void): () => void {
    const listeners = this.#upstreamListeners.get(name) ?? new Set();
    listeners.add(listener);
    this.#upstreamListeners.set(name, listeners);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#upstreamListeners.delete(name);
    };
  }

  /** Forgets all other upstreams: nobody asks for them any more. */
  keepUpstreams(names: ReadonlySet<string>): void {
    for (const name of this.upstreams.keys()) {
      if (names.has(name)) continue;
      this.upstreams.delete(name);
      this.#resources.delete(`upstream/${name}`);
      for (const listener of this.#upstreamListeners.get(name) ?? []) listener(undefined);
    }
  }

  /**
   * Takes over resources from the feed or the cache.
   *
   * @param update `reset`: what is not among the resources is forgotten
   * @returns what was refused
   */
  apply(
    update: { revision: number; reset: boolean; resources: readonly FeedResource[] },
    origin: 'cache' | 'feed',
  ): Rejected[] {
    const rejected: Rejected[] = [];
    const seen = new Set<string>();
    for (const resource of update.resources) {
      if (resource.kind === 'bundle') continue; // the trust store's business, see feed-client.ts
      seen.add(`${resource.kind}/${resource.name}`);
      try {
        if (resource.kind === 'intentions')
          this.#applyIntentions(checked(feedIntentionsSchema, resource), update.revision);
        else if (resource.kind === 'upstream') this.#applyUpstream(checked(feedUpstreamSchema, resource));
        else if (resource.kind === 'limits') this.#applyLimits(checked(feedLimitsSchema, resource));
        else this.#setMeshNames(listenable(checked(feedMeshNamesSchema, resource)));
        this.#resources.set(`${resource.kind}/${resource.name}`, resource);
      } catch (error) {
        if (!(error instanceof MeshError)) throw error;
        rejected.push({ kind: resource.kind, name: resource.name, reason: error.message });
      }
    }
    if (update.reset) this.#forgetAllBut(seen);
    this.revision = update.revision;
    this.origin = origin;
    return rejected;
  }

  /** All resources in force, for the cache. */
  resources(): FeedResource[] {
    return [...this.#resources.values()];
  }

  #applyIntentions(resource: FeedIntentions, revision: number): void {
    if (resource.name !== this.service)
      throw new MeshError('SLV-5006', `intentions of another service than ${this.service}`);
    this.#compile({ resource, revision });
  }

  #compile(source: { readonly resource: FeedIntentions; readonly revision: number }): void {
    const { resource, revision } = source;
    this.#intentions = source;
    this.inbound = {
      protocol: resource.protocol,
      tokens: this.#tokenProviders(resource),
      intentions: compileIntentions({
        destination: resource.name,
        protocol: resource.protocol,
        defaultAction: resource.defaultAction,
        // exactOptionalPropertyTypes: zod's optionals carry `| undefined`, which JSON can't.
        intentions: resource.intentions as readonly Intention[],
        revision,
        nowMs: this.#clock(),
      }),
    };
    for (const listener of this.#inboundListeners) listener();
  }

  /** Those that say what they said before stay, with what they have verified. */
  #tokenProviders({ jwtProviders = [] }: FeedIntentions): ReadonlyMap<string, TokenProvider> {
    const kept = this.#tokens;
    this.#tokens = new Map(
      jwtProviders.map((provider) => {
        const text = JSON.stringify(provider);
        return [text, kept.get(text) ?? new TokenProvider(provider, this.#clock)];
      }),
    );
    return new Map([...this.#tokens.values()].map((provider) => [provider.name, provider]));
  }

  #applyUpstream(resource: FeedUpstream): void {
    const view = upstreamView(resource);
    this.upstreams.set(view.name, view);
    for (const listener of this.#upstreamListeners.get(view.name) ?? []) listener(view);
  }

  #applyLimits({ requestLimit, instanceLimits = {}, normalization, calling = {} }: FeedLimits): void {
    this.instanceLimits = understood('limits', () => compileInstanceLimits(instanceLimits));
    this.#setCalling(calling);
    this.normalization = { ...strictNormalization, ...normalization };
    this.#setLimit(requestLimit);
  }

  /** What is called is called otherwise from here on: as if each upstream were told anew. */
  #setCalling(calling: Calling): void {
    if (JSON.stringify(calling) === JSON.stringify(this.calling)) return;
    this.calling = calling;
    for (const [name, listeners] of this.#upstreamListeners) {
      const view = this.upstreams.get(name);
      if (view !== undefined) for (const listener of listeners) listener(view);
    }
  }

  #setLimit(limit: RequestLimitPolicy | undefined): void {
    this.requestLimit = limit;
    for (const listener of this.#limitListeners) listener();
  }

  #setMeshNames(names: readonly MeshName[]): void {
    this.meshNames = names;
    for (const listener of this.#meshNamesListeners) listener();
  }

  #forgetAllBut(seen: ReadonlySet<string>): void {
    for (const [key, resource] of this.#resources) {
      if (seen.has(key)) continue;
      this.#resources.delete(key);
      if (resource.kind === 'intentions') {
        this.inbound = undefined;
        this.#intentions = undefined;
        for (const listener of this.#inboundListeners) listener();
      } else if (resource.kind === 'upstream') {
        this.upstreams.delete(resource.name);
        for (const listener of this.#upstreamListeners.get(resource.name) ?? []) listener(undefined);
      } else if (resource.kind === 'limits') {
        this.#applyLimits({ kind: 'limits', name: resource.name });
      } else if (resource.kind === 'mesh-names') {
        this.#setMeshNames([]);
      }
    }
  }
}

/** @throws MeshError SLV-5001, SLV-5005 or SLV-5006 */
function upstreamView(resource: FeedUpstream): UpstreamView {
  const { name, protocol, routing, endpoints, resilience } = resource;
  const normalization = { ...strictNormalization, ...resource.normalization };
  if (routing === undefined) {
    const target = targetView(name, { service: name, endpoints, resilience });
    return {
      name,
      protocol,
      normalization,
      routes: undefined,
      destinations: new Map([[name, { targets: [target], loadBalancer: undefined }]]),
    };
  }
  const routes = understood('routing', () => compileRouteTable(routing));
  const targets = new Map(Object.entries(routing.targets).map(([key, target]) => [key, targetView(key, target)]));
  const destinations = Object.entries(routing.destinations).map(([key, destination]): [string, DestinationView] => [
    key,
    {
      targets: destination.targets.flatMap((target) => targets.get(target) ?? []),
      loadBalancer: destination.loadBalancer,
      mirror: destination.mirror,
    },
  ]);
  return { name, protocol, normalization, destinations: new Map(destinations), routes };
}

function targetView(name: string, { service, endpoints, resilience, byLocality }: FeedTarget): TargetView {
  const policy = parseResiliencePolicy(resilience);
  return { name, service, endpoints: endpoints.map(reachable), resilience: policy, byLocality: byLocality === true };
}

/** @throws MeshError SLV-5006 in the place of a SyntaxError */
function understood<T>(what: string, compile: () => T): T {
  try {
    return compile();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MeshError('SLV-5006', `${what} not understood: ${error.message}`, { cause: error });
  }
}

/** The endpoint, when it can be dialled at all; throws SLV-5001 or SLV-5006 before anything is changed. */
function reachable(endpoint: FeedEndpoint): FeedEndpoint {
  const { id, address, port, spiffeId } = endpoint;
  parseSpiffeId(spiffeId);
  if (address === '' || address.length > 255) throw new MeshError('SLV-5006', `endpoint ${id} has no address`);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new MeshError('SLV-5006', `endpoint ${id} has no port`);
  return endpoint;
}

function checked<T>(schema: z.ZodType<T>, resource: unknown): T {
  const result = schema.safeParse(resource);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new MeshError(
    'SLV-5006',
    `not understood at ${issue?.path.join('.') ?? '?'}: ${issue?.message ?? 'unknown form'}`,
  );
}
