import type { Clock } from '#runtime/clock.ts';
import type { NodeRecord } from '../nodes.ts';
import type { AuthorityId } from '../rotation/rotation.ts';

/** One SVID, as far as its life and origin matter. */
export interface HeldSvid {
  readonly issuedAtMs: number;
  readonly notAfterMs: number;
  /** Undefined: issued by a CA that does not say. */
  readonly authority: AuthorityId | undefined;
}

/** Who holds one: a service on a node. */
export interface Holder {
  /** Undefined: this service itself, or anybody in `dev`. */
  readonly node: string | undefined;
  /** `<node name>/<service>`, for people. */
  readonly holder: string;
}

/** The newest SVID of one holder. */
export type Newest = HeldSvid & Holder;

const rateWindowSeconds = 60;
const pruneEveryMs = 60_000;

/**
 * What is out there, in memory: the newest SVID of every holder, and when the last SVID under each authority ends. Read from the nodes' records at start,
 * then kept by issuance. Rotation waits by it, and the time to an outage is reckoned from it.
 */
export class HeldSvids {
  readonly #clock: Clock;
  readonly #newest = new Map<string, Newest>();
  readonly #ends = new Map<AuthorityId, number>();
  /** SVIDs issued in each of the last seconds, by second modulo the window. */
  readonly #rate = Array.from({ length: rateWindowSeconds }, () => ({ second: 0, count: 0 }));
  #prunedAtMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes in what was issued before this start. */
  restore(nodes: readonly NodeRecord[]): void {
    for (const node of nodes) {
      const live = new Map(node.live.map((svid) => [svid.serial, svid]));
      for (const { notAfterMs, authority } of node.live) this.#noteEnd(authority, notAfterMs);
      if (node.revokedAtMs !== undefined) continue;
      for (const [service, { current }] of Object.entries(node.svids)) {
        const svid = live.get(current);
        if (svid === undefined) continue;
        const { notAfterMs, authority, issuedAtMs = node.lastIssuedAtMs ?? node.joinedAtMs } = svid;
        const holder = { node: node.id, holder: `${node.name}/${service}` };
        this.#newest.set(keyOf(holder), { ...holder, issuedAtMs, notAfterMs, authority });
      }
    }
  }

  issued(holder: Holder, svid: HeldSvid): void {
    this.#prune();
    this.#newest.set(keyOf(holder), { ...holder, ...svid });
    this.#noteEnd(svid.authority, svid.notAfterMs);
    const second = Math.floor(svid.issuedAtMs / 1_000);
    const slot = this.#rate[second % rateWindowSeconds];
    if (slot === undefined) return;
    slot.count = slot.second === second ? slot.count + 1 : 1;
    slot.second = second;
  }

  /**
   * A revoked node renews nothing, and nobody waits for it.
   * @param which of its services; absent: all
   */
  forget(node: string, which: (service: string) => boolean = () => true): void {
    for (const [key, held] of this.#newest) {
      // `node/service`; neither has a slash in it.
      const service = held.holder.slice(held.holder.lastIndexOf('/') + 1);
      if (held.node === node && which(service)) this.#newest.delete(key);
    }
  }

  /** The newest SVID of every holder, where it is still valid. */
  newest(): readonly Newest[] {
    const nowMs = this.#clock();
    return [...this.#newest.values()].filter(({ notAfterMs }) => notAfterMs > nowMs);
  }

  /** The newest SVID of every holder, also those that ran out since anything was issued last: that is what an outage looks like. */
  all(): readonly Newest[] {
    return [...this.#newest.values()];
  }

  /** When the last SVID under one of these authorities ends, ms since the epoch; 0: none was issued. */
  endUnder(authorities: readonly AuthorityId[]): number {
    return Math.max(0, ...authorities.map((id) => this.#ends.get(id) ?? 0));
  }

  /** SVIDs issued in the last minute. */
  get issuedLastMinute(): number {
    const oldest = Math.floor(this.#clock() / 1_000) - rateWindowSeconds;
    return this.#rate.reduce((sum, { second, count }) => sum + (second > oldest ? count : 0), 0);
  }

  #noteEnd(authority: AuthorityId | undefined, endMs: number): void {
    if (authority !== undefined) this.#ends.set(authority, Math.max(this.#ends.get(authority) ?? 0, endMs));
  }

  #prune(): void {
    const nowMs = this.#clock();
    if (nowMs - this.#prunedAtMs < pruneEveryMs) return;
    this.#prunedAtMs = nowMs;
    for (const [key, { notAfterMs }] of this.#newest) if (notAfterMs <= nowMs) this.#newest.delete(key);
    for (const [authority, endMs] of this.#ends) if (endMs <= nowMs) this.#ends.delete(authority);
  }
}

function keyOf({ node, holder }: Holder): string {
  return `${node ?? ''} ${holder}`;
}
