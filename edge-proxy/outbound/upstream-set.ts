import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { defaultResiliencePolicy } from '#policies/resilience.ts';
import type { FeedState } from '../view/feed-client.ts';
import { knowsInstances, type ServiceView, type UpstreamView } from '../view/service-view.ts';
import type { Upstream } from './upstream.ts';

/** How long the first caller of a service waits until the catalog has told of it. */
const learnTimeoutMs = 2_000;
/** The same for one of the configuration, which is followed from the start: as long as a connection may take. */
const firstViewTimeoutMs = defaultResiliencePolicy.connectTimeoutMs;
/** Services that are called without having been configured; the one not used for the longest time makes room, of those without connections if there are any. */
const maxServices = 256;
/** Names of which the catalog has told no instance, made up or misspelt or of a service that comes later: none of them takes the place of a service. */
const maxEmpty = 128;
/** Such a name keeps its place this long, so that made-up ones don't have the feed opened without end. */
const emptyKeepMs = 30_000;

/** What came of asking for an upstream by its name. */
export type Found =
  | { readonly kind: 'upstream'; readonly upstream: Upstream }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly reason: string };

/** One of the configuration, and who waits for the catalog's first word of it. */
interface Configured {
  readonly upstream: Upstream;
  readonly waiting: Set<() => void>;
}

/** A service that somebody asked for. Only once the catalog knew an instance is there an Upstream: a name of a caller's makes no metric. */
interface Learned {
  readonly name: string;
  upstream: Upstream | undefined;
  usedAtMs: number;
  readonly waiting: Set<() => void>;
  readonly forget: () => void;
}

/** What the upstreams of a service need of it. */
export interface UpstreamSetOptions {
  readonly view: ServiceView;
  readonly configured: readonly string[];
  /** Whether services that are not configured may be asked for. */
  readonly learns: boolean;
  make(name: string): Upstream;
  /** `names` has changed: have the feed carry it. */
  onNames(): void;
  feedState(): FeedState;
}

/**
 * The upstreams of one local service: those of the configuration, and those that its application asked for by name. Of the latter the catalog is asked at
 * their first use, which alone waits for the answer; from then on they are followed like the others, through restarts too.
 */
export class UpstreamSet {
  readonly #options: UpstreamSetOptions;
  readonly #configured = new Map<string, Configured>();
  readonly #learned = new Map<string, Learned>();
  /** In lower case, as hosts name them. */
  readonly #byHost = new Map<string, Configured>();

  constructor(options: UpstreamSetOptions) {
    this.#options = options;
    for (const name of options.configured) {
      const upstream = options.make(name);
      const waiting: Configured['waiting'] = new Set();
      upstream.update(options.view.upstreams.get(name));
      options.view.onUpstream(name, (next) => {
        upstream.update(next);
        if (next !== undefined) for (const look of [...waiting]) look();
      });
      this.#configured.set(name, { upstream, waiting });
      this.#byHost.set(name.toLowerCase(), { upstream, waiting });
    }
    if (!options.learns) return;
    // What was learned before a restart is in the view.
    for (const name of options.view.upstreams.keys()) {
      if (!this.#configured.has(name) && this.#learned.size < maxServices) this.#want(name);
    }
  }

  get all(): readonly Upstream[] {
    const learned = [...this.#learned.values()].flatMap(({ upstream }) => (upstream === undefined ? [] : [upstream]));
    const configured = [...this.#configured.values()].map(({ upstream }) => upstream);
    return learned.length === 0 ? configured : [...configured, ...learned];
  }

  configured(name: string): Upstream | undefined {
    return this.#configured.get(name)?.upstream;
  }

  /** What the feed is to carry. */
  names(): readonly string[] {
    return [...this.#configured.keys(), ...this.#learned.keys()];
  }

  /**
   * Finds an upstream by a name of a caller's; in most cases at once.
   *
   * @param name its own, or in lower case
   * @param done called once, with the upstream or why there is none. @returns gives up waiting
   */
  find(name: string, done: (found: Found) => void): () => void {
    const configured = this.#configured.get(name) ?? this.#byHost.get(name);
    if (configured !== undefined) {
      const { upstream, waiting } = configured;
      if (!upstream.known) return this.#wait(name, 'is not known yet', waiting, firstViewTimeoutMs, done);
      done({ kind: 'upstream', upstream });
      return nothing;
    }
    const known = this.#learned.get(name);
    if (known === undefined && !this.#hasRoomForName()) {
      const reason = `${maxEmpty} names that the catalog knows no instance of were called within ${emptyKeepMs / 1_000} s: ${name} finds no room among them`;
      done({ kind: 'refused', code: 'SLV-4013', reason });
      return nothing;
    }
    const learned = known ?? this.#want(name);
    if (known === undefined) this.#options.onNames();
    learned.usedAtMs = performance.now();
    if (learned.upstream !== undefined) {
      done({ kind: 'upstream', upstream: learned.upstream });
      return nothing;
    }
    if (this.#options.view.upstreams.has(name)) {
      done({ kind: 'refused', code: 'SLV-4002', reason: `the catalog knows no instance of ${name} in the mesh` });
      return nothing;
    }
    return this.#wait(name, 'was never called before', learned.waiting, learnTimeoutMs, done);
  }

  close(): void {
    for (const learned of this.#learned.values()) learned.forget();
    for (const upstream of this.all) upstream.close();
  }

  /** @param what is with it, for people */
  #wait(
    name: string,
    what: string,
    waiting: Set<() => void>,
    timeoutMs: number,
    done: (found: Found) => void,
  ): () => void {
    const state = this.#options.feedState();
    if (state.kind === 'lost') {
      const reason = `${name} ${what}, and the catalog can't be asked: ${state.reason}`;
      done({ kind: 'refused', code: 'SLV-4013', reason });
      return nothing;
    }
    const stop = (): void => {
      clearTimeout(timer);
      waiting.delete(look);
    };
    const look = (): void => {
      stop();
      this.find(name, done);
    };
    const timer = setTimeout(() => {
      stop();
      const reason = `${name} ${what}, and the catalog has not answered within ${timeoutMs} ms`;
      done({ kind: 'refused', code: 'SLV-4013', reason });
    }, timeoutMs);
    waiting.add(look);
    return stop;
  }

  #want(name: string): Learned {
    const { view, make } = this.#options;
    const changed = (next: UpstreamView | undefined): void => {
      if (learned.upstream === undefined && next !== undefined && knowsInstances(next)) {
        this.#makeRoom();
        learned.upstream = make(name);
      }
      learned.upstream?.update(next);
      // That a name is gone from the view is no answer.
      if (next !== undefined) for (const look of [...learned.waiting]) look();
    };
    const forget = view.onUpstream(name, changed);
    const learned: Learned = { name, upstream: undefined, usedAtMs: performance.now(), waiting: new Set(), forget };
    this.#learned.set(name, learned);
    changed(view.upstreams.get(name));
    return learned;
  }

  /** For a name of which nothing is known yet. */
  #hasRoomForName(): boolean {
    const nowMs = performance.now();
    let empty = 0;
    for (const learned of this.#learned.values()) {
      if (learned.upstream !== undefined) continue;
      if (nowMs - learned.usedAtMs > emptyKeepMs) this.#drop(learned);
      else empty += 1;
    }
    return empty < maxEmpty;
  }

  /** For one more service. While each has calls under way, there are more of them. */
  #makeRoom(): void {
    let services = 0;
    for (const { upstream } of this.#learned.values()) if (upstream !== undefined) services += 1;
    if (services < maxServices) return;
    // A connection that was opened for a service asks for it once, and is to be served until it ends.
    const oldest = this.#oldest(({ edge }) => edge.openConnections.value === 0) ?? this.#oldest(() => true);
    if (oldest !== undefined) this.#drop(oldest);
  }

  /** The one without calls that was not used for the longest time. */
  #oldest(mayGo: (upstream: Upstream) => boolean): Learned | undefined {
    let oldest: Learned | undefined;
    for (const learned of this.#learned.values()) {
      const { upstream } = learned;
      if (upstream === undefined || upstream.inFlight > 0 || !mayGo(upstream)) continue;
      if (oldest === undefined || learned.usedAtMs < oldest.usedAtMs) oldest = learned;
    }
    return oldest;
  }

  #drop(learned: Learned): void {
    this.#learned.delete(learned.name);
    learned.forget();
    learned.upstream?.close();
  }
}

function nothing(): void {}
