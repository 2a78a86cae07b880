import { type CallerSettings, calledBy } from '#policies/caller-settings.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ServiceProtocol } from '#policies/intention.ts';
import { strictNormalization } from '#policies/request-normalization.ts';
import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { RoutedRequest } from '#policies/routing/route-match.ts';
import type { CompiledRoute, RouteEnd } from '#policies/routing/route-table.ts';
import { routedPolicy } from '#policies/routing/routed-policy.ts';
import { ShareSequence, SplitSequence } from '#policies/routing/split-sequence.ts';
import type { Locality } from '#policies/wire/feed-routing.ts';
import { LinkedSet, Place } from '../linked-set.ts';
import type { Drainable, ServingSet } from '../server-stream.ts';
import type { EdgeTraffic } from '../traffic.ts';
import type { DestinationView, UpstreamView } from '../view/service-view.ts';
import { wireOf } from '../wire-protocol.ts';
import type { CallsOfTargets } from './calls-of-targets.ts';
import { Destination, type DestinationShown } from './destination.ts';
import type { Endpoint } from './endpoint.ts';
import { EndpointPool, type EndpointPoolOptions } from './endpoint-pool.ts';
import { nearestFirst } from './nearest-first.ts';

/** What one upstream of a local service needs of the world. */
export interface UpstreamOptions extends EndpointPoolOptions {
  /** The local service that calls. */
  readonly service: string;
  readonly edge: EdgeTraffic;
  /** Where this proxy runs; undefined: nobody said. */
  readonly locality: Locality | undefined;
  /** What the calls of the local service have shown, and what bounds them. */
  readonly calls: CallsOfTargets;
  /** What the local service says of its calls of an upstream. */
  settingsFor(upstream: string): CallerSettings | undefined;
  /** What is counted of calls to another service. */
  edgeTo(service: string): EdgeTraffic;
}

/** Where one request goes, and what is done to it on the way. */
export interface Course {
  readonly destination: Destination;
  /** That of the destination, and what the route says over it. */
  readonly policy: ResiliencePolicy;
  readonly route: CompiledRoute;
  readonly end: RouteEnd;
}

/** Sequences remembered, those of routes that were changed among them. */
const maxSequences = 1_024;

/** A route, ready to be taken. */
interface Way {
  readonly route: CompiledRoute;
  /** One for each end of the route. */
  readonly courses: readonly [Course, ...Course[]];
  /** Undefined: there is one course. */
  readonly sequence: SplitSequence | undefined;
}

/**
 * One upstream as one local service sees it: the destinations that its calls may have, with their endpoints, and the routes that lead there. All of it changes
 * live; what is under way goes on.
 */
export class Upstream {
  readonly name: string;
  readonly edge: EdgeTraffic;
  /** What its application speaks. Nobody is served before it is `known`. */
  protocol: ServiceProtocol = 'tcp';
  /** What its callers may ask of it. */
  normalization = strictNormalization;
  /** The catalog has told of it. */
  known = false;
  /** It made room for another: connections that were opened for it have to end. */
  closed = false;
  /** Where every call goes. Undefined: `course` says where. Almost always there, and then a request costs nothing for routing. */
  plain: Destination | undefined;
  readonly #options: UpstreamOptions;
  readonly #serving = new LinkedSet<Place<Drainable>>();
  readonly #pool: EndpointPool;
  #destinations = new Map<string, Destination>();
  #ways: readonly Way[] = [];
  readonly #sequences = new Map<string, SplitSequence>();

  constructor(options: UpstreamOptions) {
    this.name = options.name;
    this.edge = options.edge;
    this.#options = options;
    this.#pool = new EndpointPool(options);
    this.plain = this.#destination(options.name);
    this.#destinations.set(options.name, this.plain);
  }

  /** The catalog's newest word; undefined: the upstream is not known any more, so it has no endpoints. */
  update(view: UpstreamView | undefined): void {
    const wire = wireOf(this.protocol);
    const changes = this.known && view !== undefined && wireOf(view.protocol) !== wire;
    this.known ||= view !== undefined;
    this.protocol = view?.protocol ?? this.protocol;
    this.normalization = view?.normalization ?? strictNormalization;
    this.#pool.begin();
    if (view === undefined) {
      for (const destination of this.#destinations.values()) destination.forget();
    } else {
      const before = this.#destinations;
      const settings = this.#options.settingsFor(this.name);
      this.#destinations = new Map(
        [...view.destinations].map(([name, its]) => {
          const destination = before.get(name) ?? this.#destination(name, its);
          const targets = its.targets.flatMap((target) => {
            const resilience = calledBy(target.resilience, settings, this.protocol);
            return nearestFirst({ ...target, resilience }, this.#options.locality);
          });
          destination.update({ ...its, targets }, (target) => this.#pool.of(target));
          return [name, destination];
        }),
      );
      for (const [name, destination] of before) if (!this.#destinations.has(name)) destination.close();
      for (const [name, { mirror }] of view.destinations) this.#mirror(name, mirror);
      this.#take(view.routes);
    }
    this.#pool.end();
    if (!changes) return;
    // What is open was made for another protocol, at both of its ends.
    for (const endpoint of this.endpoints) endpoint.retireStreams();
    for (const { of: stream } of this.#serving.all()) stream.drain();
  }

  /** Where a connection for it is known while it is open: here, and to those who drain `listener`. */
  servingAt(listener: ServingSet): ServingSet {
    return {
      add: (stream) => {
        this.serve(stream);
        listener.add(stream);
      },
      delete: (stream) => {
        this.leave(stream);
        listener.delete(stream);
      },
    };
  }

  /** A connection of the application that is for it alone: it ends when its protocol becomes another. */
  serve(stream: Drainable): void {
    stream.ofUpstream ??= new Place(stream);
    this.#serving.add(stream.ofUpstream);
  }

  leave(stream: Drainable): void {
    if (stream.ofUpstream !== undefined) this.#serving.delete(stream.ofUpstream);
  }

  /** Every instance that may be called. */
  get endpoints(): readonly Endpoint[] {
    return this.#pool.all;
  }

  /** The names of all targets that calls may go to. */
  get targets(): readonly string[] {
    return [...this.#destinations.values()].flatMap((destination) => destination.targets);
  }

  /** Calls, or TCP connections, under way. */
  get inFlight(): number {
    let count = 0;
    for (const destination of this.#destinations.values()) count += destination.inFlight;
    return count;
  }

  /** No byte either way for this long ends a connection of the application's, ms. */
  get idleTimeoutMs(): number {
    const usual = this.plain ?? this.#ways.at(-1)?.courses[0].destination;
    return (usual ?? this.forConnection()).policy.idleTimeoutMs;
  }

  /** For the admin API: where calls may go, and which instance of each target is healthy. */
  get routed(): readonly DestinationShown[] | undefined {
    const shown = [...this.#destinations.values()].map((destination) => destination.shown);
    return shown.length === 1 && (shown[0]?.targets.length ?? 0) < 2 ? undefined : shown;
  }

  /** The course of a request, where `plain` says none. */
  course(request: RoutedRequest): Course {
    for (const way of this.#ways) if (way.route.matches(request)) return take(way);
    throw this.#astray();
  }

  /** Where a connection goes whose bytes are not looked into: as a request that no route is for. */
  forConnection(): Destination {
    const last = this.plain === undefined ? this.#ways.at(-1) : undefined;
    const taken = last === undefined ? this.plain : take(last).destination;
    if (taken === undefined) throw this.#astray();
    return taken;
  }

  /** A value for a cookie that is to hold a caller to one instance. */
  readonly newKey = (): string => Buffer.from(this.#options.process.randomBytes(16)).toString('hex');

  close(): void {
    this.closed = true;
    for (const destination of this.#destinations.values()) destination.close();
    this.#pool.close();
  }

  /** Every chain has a last route that matches all, and every route a course: compileRouteTable sees to it. */
  #astray(): MeshError {
    return new MeshError('SLV-1007', `A call of ${this.name} has no course.`);
  }

  /** Routes that say nothing and lead to one destination cost no request anything. */
  #take(routes: readonly CompiledRoute[] | undefined): void {
    this.#ways = (routes ?? []).map((route, at) => {
      const [first, ...further] = route.ends.map((end) => this.#course(route, end));
      if (first === undefined) throw this.#astray();
      const courses: Way['courses'] = [first, ...further];
      return { route, courses, sequence: courses.length > 1 ? this.#sequence(at, route.ends) : undefined };
    });
    const [first] = this.#ways;
    const [only] = first?.courses ?? [];
    if (first === undefined) this.plain = this.#destinations.values().next().value;
    else if (only !== undefined && this.#ways.length === 1 && first.courses.length === 1 && isPlain(only)) {
      this.plain = only.destination;
    } else this.plain = undefined;
  }

  /** A split that stays as it is goes on where it was, however often instances come and go. */
  #sequence(at: number, ends: readonly RouteEnd[]): SplitSequence {
    const weights = ends.map(({ weight }) => weight);
    const key = `${at}: ${weights.join(' ')}`;
    const sequence = this.#sequences.get(key) ?? new SplitSequence(weights, this.#options.process.random());
    if (this.#sequences.size >= maxSequences) this.#sequences.clear();
    this.#sequences.set(key, sequence);
    return sequence;
  }

  #course(route: CompiledRoute, end: RouteEnd): Course {
    const destination = this.#destinations.get(end.destination);
    if (destination === undefined) throw this.#astray();
    return { destination, policy: routedPolicy(destination.policy, route.says), route, end };
  }

  #mirror(name: string, mirror: DestinationView['mirror']): void {
    const destination = this.#destinations.get(name);
    const to = this.#destinations.get(mirror?.destination ?? '');
    if (destination === undefined) return;
    if (mirror === undefined || to === undefined) destination.mirror = undefined;
    else {
      const { share } = mirror;
      const before = destination.mirror;
      // A share that stays as it is goes on where it was, as a split does.
      const which = before?.share === share ? before.which : new ShareSequence(share, this.#options.process.random());
      destination.mirror = { to, share, which };
    }
  }

  /** Copies are counted for themselves, as calls of whom they go to. */
  #destination(name: string, view?: DestinationView): Destination {
    const { process, edgeTo, calls } = this.#options;
    const service = view?.targets[0]?.service ?? this.name;
    const edge = name.startsWith('mirror:') ? edgeTo(service) : this.edge;
    return new Destination(name, edge, process, calls);
  }
}

function take({ courses, sequence }: Way): Course {
  return courses[sequence?.next() ?? 0] ?? courses[0];
}

function isPlain({ policy, destination, route, end }: Course): boolean {
  const edited = end.requestEdits !== undefined || end.responseEdits !== undefined;
  if (destination.hashPolicies !== undefined || destination.mirror !== undefined) return false;
  return (
    policy === destination.policy && !edited && route.says.match === undefined && route.says.prefixRewrite === undefined
  );
}
