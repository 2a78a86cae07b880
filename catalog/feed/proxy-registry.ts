import { MeshError } from '#policies/errors/mesh-error.ts';
import type { FeedAck } from '#policies/wire/feed.ts';
import type { Clock } from '#runtime/clock.ts';

/** What a proxy asks for. Two connections of one subscription's owner, proxy and services are the same line, the newer replacing the older. */
export interface Subscription {
  readonly proxy: string;
  /** SPIFFE ID that opened it; undefined: an operator, or anyone in dev. */
  readonly owner: string | undefined;
  readonly services: readonly string[];
  readonly upstreams: readonly string[];
  /** Of these, the ones of which the proxy has nothing yet. */
  readonly unknown: readonly string[];
  /** It wants to know where names of the mesh lead. */
  readonly meshNames: boolean;
  /** It wants to know what callers may ask of its services. */
  readonly limits: boolean;
}

/** What is known of one line to a proxy, also some time after it broke. */
export interface ProxyRecord {
  subscription: Subscription;
  connected: boolean;
  /** When it was last heard of: connected, acknowledged, disconnected. */
  heardAtMs: number;
  /** The newest acknowledgement. */
  ack: (FeedAck & { readonly atMs: number }) | undefined;
}

/** How long a proxy that went away is remembered: to continue where it was, and for operators to see. */
const rememberMs = 600_000;
/** Lines remembered at once; beyond it those that are not connected go. */
const maxRecords = 20_000;
const pruneEveryMs = 30_000;

/** Which proxies follow the feed and what each has acknowledged. */
export class ProxyRegistry {
  /** By proxy, then by line. */
  readonly #proxies = new Map<string, Map<string, ProxyRecord>>();
  readonly #clock: Clock;
  #count = 0;
  #prunedAtMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes a connection. @returns true when the same line was known and asked for no less, what it says to be new aside, so that it can be continued */
  connected(subscription: Subscription): boolean {
    this.#prune();
    const lines = this.#proxies.get(subscription.proxy) ?? new Map<string, ProxyRecord>();
    this.#proxies.set(subscription.proxy, lines);
    const line = lineOf(subscription);
    const before = lines.get(line);
    if (before === undefined) this.#count += 1;
    lines.set(line, { subscription, connected: true, heardAtMs: this.#clock(), ack: before?.ack });
    const known = new Set([...(before?.subscription.upstreams ?? []), ...subscription.unknown]);
    const noLess =
      (before?.subscription.meshNames || !subscription.meshNames) &&
      (before?.subscription.limits || !subscription.limits);
    return before !== undefined && noLess && subscription.upstreams.every((name) => known.has(name));
  }

  disconnected(subscription: Subscription): void {
    const record = this.#proxies.get(subscription.proxy)?.get(lineOf(subscription));
    if (record?.subscription !== subscription) return;
    record.connected = false;
    record.heardAtMs = this.#clock();
  }

  /**
   * Takes in an acknowledgement.
   * @param owner SPIFFE ID of the caller, who speaks for its own lines only; undefined: an operator or anyone in dev
   * @throws MeshError SLV-3003 when no such proxy follows the feed
   */
  acknowledged(ack: FeedAck, owner: string | undefined): void {
    const atMs = this.#clock();
    let found = false;
    for (const record of this.#proxies.get(ack.proxy)?.values() ?? []) {
      if (owner !== undefined && record.subscription.owner !== owner) continue;
      found = true;
      record.ack = { ...ack, atMs };
      record.heardAtMs = atMs;
    }
    if (!found) throw new MeshError('SLV-3003', 'No feed of that proxy was opened by this caller.');
  }

  list(): readonly ProxyRecord[] {
    return [...this.#proxies.values()].flatMap((lines) => [...lines.values()]);
  }

  #prune(): void {
    const nowMs = this.#clock();
    const full = this.#count >= maxRecords;
    if (!full && nowMs - this.#prunedAtMs < pruneEveryMs) return;
    this.#prunedAtMs = nowMs;
    for (const [proxy, lines] of this.#proxies) {
      for (const [line, record] of lines) {
        if (record.connected || (!full && nowMs - record.heardAtMs < rememberMs)) continue;
        lines.delete(line);
        this.#count -= 1;
      }
      if (lines.size === 0) this.#proxies.delete(proxy);
    }
  }
}

/** Names a line: who, which proxy, for which services. */
export function lineOf({ owner, proxy, services }: Subscription): string {
  return JSON.stringify([owner ?? null, proxy, [...services].sort()]);
}
