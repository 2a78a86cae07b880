import type { Intention } from '#policies/intention.ts';
import { isExpired } from '#policies/intention-expiry.ts';
import { compareIntentions } from '#policies/intention-precedence.ts';
import type { ConfigEntry } from './config-entries.ts';
import type { Touch } from './topics.ts';

/** All intentions: a view of the service-intentions entries, kept so that both of Consul's APIs show the same. */
export class Intentions {
  readonly #byDestination = new Map<string, readonly Intention[]>();
  #count = 0;

  /** Those written for exactly this destination (`*` is one), in the order of the entry. */
  ofDestination(destination: string): readonly Intention[] {
    return this.#byDestination.get(destination) ?? [];
  }

  exact(source: string, destination: string): Intention | undefined {
    return this.ofDestination(destination).find((intention) => intention.source === source);
  }

  /** Those that may decide on calls to the service: for it and for `*`, the one consulted first first. */
  deciding(destination: string): Intention[] {
    const own = destination === '*' ? [] : this.ofDestination(destination);
    return [...own, ...this.ofDestination('*')].sort(compareIntentions);
  }

  /** Those that may decide on calls from the service: from it and from `*`, the one consulted first first. */
  from(source: string): Intention[] {
    return this.list().filter((intention) => intention.source === source || intention.source === '*');
  }

  /** All, the one consulted first first. */
  list(): Intention[] {
    return [...this.#byDestination.values()].flat().sort(compareIntentions);
  }

  /** Destinations of which some intention has expired and is still stored. */
  destinationsWithExpired(nowMs: number): string[] {
    return [...this.#byDestination]
      .filter(([, intentions]) => intentions.some((intention) => isExpired(intention, nowMs)))
      .map(([destination]) => destination);
  }

  get size(): number {
    return this.#count;
  }

  /** Follows a change of a config entry; entries of other kinds are none of its business. */
  put({ record, createIndex, modifyIndex }: ConfigEntry, touch: Touch): void {
    if (record.Kind !== 'service-intentions') return;
    this.#set(
      record.Name,
      record.intentions.map((stored) => ({
        ...stored,
        destination: record.Name,
        ...(Object.keys(record.Meta).length > 0 ? { meta: record.Meta } : {}),
        ...(record.JWT === undefined ? {} : { jwt: record.JWT }),
        createIndex,
        modifyIndex,
      })),
      touch,
    );
  }

  delete({ record }: ConfigEntry, touch: Touch): void {
    if (record.Kind === 'service-intentions') this.#set(record.Name, [], touch);
  }

  #set(destination: string, intentions: readonly Intention[], touch: Touch): void {
    this.#count += intentions.length - this.ofDestination(destination).length;
    if (intentions.length === 0) this.#byDestination.delete(destination);
    else this.#byDestination.set(destination, intentions);
    touch('intentions');
  }
}
