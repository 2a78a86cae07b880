import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Session } from '../access/token-sessions.ts';
import type { CatalogParts } from '../parts.ts';
import type { Topic } from '../state/topics.ts';
import { feedLine, updateLine } from './feed-line.ts';
import { FeedResources, meshNamesKey, type ResourceKey } from './feed-resources.ts';
import { FeedStream } from './feed-stream.ts';
import { lineOf, ProxyRegistry, type Subscription } from './proxy-registry.ts';

/** The trust bundle as identity signed it: carried, not understood. */
export interface SignedBundle {
  current(): string | undefined;
  onChange(listener: () => void): () => void;
}

/** Feeds at once. Each is a connection of its own; the listener's own limit is below it. */
const maxFeeds = 20_000;

/** What a feed ends with. */
export interface FeedEnd {
  /** When the SVID that opened it runs out, and with it what it proved. */
  readonly atMs?: number;
  /** Of the token that opened it. */
  readonly session?: Session;
}

/** What one proxy has yet to be told. Bounded by what it asked for, however long it does not read. */
interface Feed {
  readonly subscription: Subscription;
  readonly keys: readonly ResourceKey[];
  readonly stream: FeedStream;
  readonly endsAtMs: number | undefined;
  readonly pending: Set<ResourceKey>;
  hello: boolean;
  /** The first update, or one that starts afresh, is due. */
  start: 'reset' | 'continue' | undefined;
  bundle: boolean;
  keepAlive: boolean;
  /** Since when it has not read what waits for it. */
  stalledSinceMs: number | undefined;
}

/**
 * All feeds. A change of the state marks the resources that it concerns; once per tick, each feed that holds one of them gets one update with them as they
 * are then. Resources are serialised once per change and lines with one resource once per tick, so a feed costs a set lookup and a write.
 */
export class FeedHub {
  readonly proxies: ProxyRegistry;
  readonly resources: FeedResources;
  readonly #parts: CatalogParts;
  readonly #bundle: SignedBundle | undefined;
  /** Longest silence on a feed. */
  readonly keepAliveMs: number;
  readonly #feeds = new Map<string, Feed>();
  readonly #holders = new Map<ResourceKey, Set<Feed>>();
  readonly #lines = new Map<ResourceKey, Uint8Array>();
  readonly #touched = new Set<Topic>();
  readonly #stops: readonly (() => void)[];
  /** The revision that every feed has been told up to: what lines say, even while a newer one waits for its tick. */
  #pushedRevision: number;
  #flush: NodeJS.Immediate | undefined;

  constructor(parts: CatalogParts, options: { bundle: SignedBundle | undefined; keepAliveMs: number }) {
    this.#parts = parts;
    this.#bundle = options.bundle;
    this.keepAliveMs = options.keepAliveMs;
    this.proxies = new ProxyRegistry(parts.context.clock);
    this.resources = new FeedResources(parts);
    this.#pushedRevision = parts.state.revision;
    const timer = setInterval(() => this.#beat(), options.keepAliveMs);
    const stopBundle = options.bundle?.onChange(() => this.#bundleChanged());
    this.#stops = [
      parts.state.onChange((touched) => this.#changed(touched)),
      () => clearInterval(timer),
      ...(stopBundle === undefined ? [] : [stopBundle]),
    ];
  }

  /** Feeds that are open. */
  get size(): number {
    return this.#feeds.size;
  }

  /**
   * Opens a feed.
   * @param since the revision that the proxy has applied; it goes on from there if history allows, else it starts afresh
   * @throws MeshError SLV-3004 when there are too many
   */
  open(subscription: Subscription, since: number | undefined, end: FeedEnd): ReadableStream<Uint8Array> {
    this.#push();
    const line = lineOf(subscription);
    this.#feeds.get(line)?.stream.end();
    if (this.#feeds.size >= maxFeeds) throw new MeshError('SLV-3004', `${maxFeeds} feeds are open already.`);
    const known = this.proxies.connected(subscription);
    const { floor } = this.#parts.state.topics;
    const continues = known && since !== undefined && since >= floor && since <= this.#pushedRevision;
    const keys = [
      ...subscription.services.map((name): ResourceKey => `intentions/${name}`),
      ...subscription.upstreams.map((name): ResourceKey => `upstream/${name}`),
      ...(subscription.limits ? subscription.services.map((name): ResourceKey => `limits/${name}`) : []),
      ...(subscription.meshNames ? ([meshNamesKey] as const) : []),
    ];
    const unknown = new Set<ResourceKey>(subscription.unknown.map((name): ResourceKey => `upstream/${name}`));
    let stopSession: (() => void) | undefined;
    const feed: Feed = {
      subscription,
      keys,
      stream: new FeedStream(
        () => this.#next(feed),
        () => {
          stopSession?.();
          this.#closed(line, feed);
        },
      ),
      endsAtMs: end.atMs,
      pending: new Set(
        continues ? keys.filter((key) => unknown.has(key) || this.resources.get(key).revision > since) : [],
      ),
      hello: true,
      start: continues ? 'continue' : 'reset',
      bundle: true,
      keepAlive: false,
      stalledSinceMs: undefined,
    };
    this.#feeds.set(line, feed);
    for (const key of keys) {
      const holders = this.#holders.get(key) ?? new Set();
      this.#holders.set(key, holders.add(feed));
    }
    stopSession = end.session?.onOver(() => feed.stream.end());
    return feed.stream.body;
  }

  /** Ends all feeds: the proxies connect again, elsewhere or later. */
  close(): void {
    for (const stop of this.#stops) stop();
    clearImmediate(this.#flush);
    for (const feed of this.#feeds.values()) feed.stream.end();
  }

  /** The next line for a feed, as things are now. */
  #next(feed: Feed): Uint8Array | undefined {
    feed.stalledSinceMs = undefined;
    const revision = this.#pushedRevision;
    if (feed.hello) {
      feed.hello = false;
      return this.#hello();
    }
    if (feed.start !== undefined || feed.pending.size > 0 || feed.bundle) {
      const reset = feed.start === 'reset';
      const keys = reset ? feed.keys : [...feed.pending];
      const [only] = keys;
      const shared = feed.start === undefined && !feed.bundle && keys.length === 1 && only !== undefined;
      const line = shared
        ? this.#sharedLine(only, revision)
        : updateLine(revision, reset, [
            ...keys.map((key) => this.resources.get(key).json),
            ...(feed.bundle ? this.#bundleJson() : []),
          ]);
      feed.start = undefined;
      feed.bundle = false;
      feed.keepAlive = false;
      feed.pending.clear();
      return line;
    }
    if (!feed.keepAlive) return undefined;
    feed.keepAlive = false;
    return feedLine({ type: 'keepalive', revision });
  }

  /** Most updates carry one resource, and then they are the same for everyone who holds it. */
  #sharedLine(key: ResourceKey, revision: number): Uint8Array {
    const line = this.#lines.get(key) ?? updateLine(revision, false, [this.resources.get(key).json]);
    this.#lines.set(key, line);
    return line;
  }

  #hello(): Uint8Array {
    const { nodeName, datacenter, trustDomain } = this.#parts;
    return feedLine({ type: 'hello', catalog: nodeName, datacenter, trustDomain, keepAliveMs: this.keepAliveMs });
  }

  #bundleJson(): string[] {
    const jws = this.#bundle?.current();
    return jws === undefined ? [] : [JSON.stringify({ kind: 'bundle', name: this.#parts.trustDomain, jws })];
  }

  #changed(touched: ReadonlySet<Topic>): void {
    for (const topic of touched) this.#touched.add(topic);
    this.#flush ??= setImmediate(() => this.#push());
  }

  /** Tells each feed, once, all that changed for it since the last tick. */
  #push(): void {
    clearImmediate(this.#flush);
    this.#flush = undefined;
    this.#lines.clear();
    this.#pushedRevision = this.#parts.state.revision;
    const changed = this.resources.refresh(this.#touched, this.#pushedRevision);
    this.#touched.clear();
    const told = new Set<Feed>();
    for (const key of changed) {
      for (const feed of this.#holders.get(key) ?? []) {
        feed.pending.add(key);
        told.add(feed);
      }
    }
    for (const feed of told) this.#pump(feed);
  }

  #bundleChanged(): void {
    for (const feed of this.#feeds.values()) {
      feed.bundle = true;
      this.#pump(feed);
    }
  }

  /** Keep-alives, and the end of feeds whose SVID has run out or whose reader has stopped reading. */
  #beat(): void {
    const nowMs = this.#parts.context.clock();
    for (const feed of this.#feeds.values()) {
      const stalled = feed.stalledSinceMs !== undefined && nowMs - feed.stalledSinceMs > 3 * this.keepAliveMs;
      if (stalled || (feed.endsAtMs !== undefined && nowMs >= feed.endsAtMs)) {
        feed.stream.end();
        continue;
      }
      feed.keepAlive = true;
      this.#pump(feed);
    }
  }

  #pump(feed: Feed): void {
    if (!feed.stream.hasRoom) feed.stalledSinceMs ??= this.#parts.context.clock();
    feed.stream.pump();
  }

  #closed(line: string, feed: Feed): void {
    if (this.#feeds.get(line) === feed) this.#feeds.delete(line);
    this.proxies.disconnected(feed.subscription);
    for (const key of feed.keys) {
      const holders = this.#holders.get(key);
      holders?.delete(feed);
      if (holders?.size !== 0) continue;
      this.#holders.delete(key);
      this.resources.forget(key);
    }
  }
}
