import type { RecentCall, RecentCallsReport } from '#policies/wire/recent-calls.ts';
import type { Clock } from '#runtime/clock.ts';

/** Calls of one kind in the last hour. */
export interface UsedCall extends RecentCall {
  readonly destination: string;
}

/** The hour, in slices that end one by one. */
const sliceMs = 300_000;
const slices = 12;
/** Kinds of call remembered of one destination, and of all. */
const maxPerDestination = 2_048;
const maxKinds = 50_000;

type Counts = Pick<RecentCall, 'allowed' | 'denied' | 'observed'>;
type Kind = Omit<RecentCall, keyof Counts> & { readonly bySlice: Map<number, Counts> };

/**
 * What the proxies have told of the calls of the last hour, by destination: for the preview of edits. In memory only, of this catalog only, and bounded: what
 * finds no room is counted as missed. No decision is ever made of it.
 */
export class RecentUse {
  readonly #clock: Clock;
  readonly #byDestination = new Map<string, Map<string, Kind>>();
  readonly #missed = new Map<string, Map<number, number>>();
  #kinds = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes in what a proxy of the destination tells. */
  take({ service, calls, missed }: RecentCallsReport): void {
    this.#prune();
    const slice = this.#slice();
    const kinds = this.#byDestination.get(service) ?? new Map<string, Kind>();
    this.#byDestination.set(service, kinds);
    let without = missed;
    for (const { source, method, template, example, ...counts } of calls) {
      const key = JSON.stringify([source, method, template]);
      let kind = kinds.get(key);
      if (kind === undefined) {
        if (kinds.size >= maxPerDestination || this.#kinds >= maxKinds) {
          without += counts.allowed + counts.denied + counts.observed;
          continue;
        }
        kind = { source, method, template, example, bySlice: new Map() };
        kinds.set(key, kind);
        this.#kinds += 1;
      }
      kind.bySlice.set(slice, added(kind.bySlice.get(slice), counts));
    }
    const missedOf = this.#missed.get(service) ?? new Map<number, number>();
    this.#missed.set(service, missedOf.set(slice, (missedOf.get(slice) ?? 0) + without));
  }

  /** Destinations that were called. */
  destinations(): string[] {
    this.#prune();
    return [...this.#byDestination.keys()].sort();
  }

  /** @param source undefined: of everyone */
  of(destination: string, source?: string): UsedCall[] {
    this.#prune();
    return [...(this.#byDestination.get(destination)?.values() ?? [])]
      .filter((kind) => source === undefined || kind.source === source)
      .map(({ bySlice, ...kind }) => ({
        destination,
        ...kind,
        ...[...bySlice.values()].reduce(added, { allowed: 0, denied: 0, observed: 0 }),
      }));
  }

  /** Calls of the last hour that found no room. */
  missed(destination: string): number {
    this.#prune();
    return [...(this.#missed.get(destination)?.values() ?? [])].reduce((sum, count) => sum + count, 0);
  }

  #slice(): number {
    return Math.floor(this.#clock() / sliceMs);
  }

  /** Also what a clock that was set back has put into the future. */
  #prune(): void {
    const now = this.#slice();
    const isOver = (slice: number) => slice <= now - slices || slice > now;
    for (const [destination, kinds] of this.#byDestination) {
      for (const [key, { bySlice }] of kinds) {
        for (const slice of bySlice.keys()) if (isOver(slice)) bySlice.delete(slice);
        if (bySlice.size > 0) continue;
        kinds.delete(key);
        this.#kinds -= 1;
      }
      if (kinds.size === 0) this.#byDestination.delete(destination);
    }
    for (const [destination, bySlice] of this.#missed) {
      for (const slice of bySlice.keys()) if (isOver(slice)) bySlice.delete(slice);
      if (bySlice.size === 0) this.#missed.delete(destination);
    }
  }
}

function added(a: Counts | undefined, b: Counts): Counts {
  if (a === undefined) return b;
  return { allowed: a.allowed + b.allowed, denied: a.denied + b.denied, observed: a.observed + b.observed };
}
