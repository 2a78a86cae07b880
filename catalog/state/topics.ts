/**
 * What a reader can wait for. Each topic has an index of its own: the revision that last changed it. So an unrelated change wakes nobody,
 * where one index for all would wake everyone (Consul keeps one per table and per service for the same reason).
 *
 * `health/<name>` is all that GET /v1/health/service/:name shows, `service/<name>` the same without the checks, `connect/…` likewise for the
 * instances that are proxies of a service or native to it, `upstream/<name>` what the feed says of it (also the checks of the proxied instance).
 * `kv/<key>` is one entry of the KV, `kv-folder/<folder>` all that is below a folder; '' is the outermost.
 * `services` is names and tags, `instances` all that any instance or its node says of itself.
 */
export type Topic =
  | 'nodes'
  | 'services'
  | 'instances'
  | 'checks'
  | 'intentions'
  | 'events'
  | 'tokens'
  | `node/${string}`
  | `node-checks/${string}`
  | `service/${string}`
  | `service-checks/${string}`
  | `health/${string}`
  | `connect/${string}`
  | `connect-health/${string}`
  | `upstream/${string}`
  | `destination/${string}`
  | `kind/${string}`
  | `entry/${string}/${string}`
  | `resilience/${string}`
  | `kv/${string}`
  | `kv-folder/${string}`;

/** Marks a topic as changed by the revision that is being applied. */
export type Touch = (topic: Topic) => void;

/** Topics remembered at once. Above it all are folded into the floor, which wakes every reader once and never lets an index go back. */
const maxTopics = 200_000;

/** Revisions by topic, and who waits for them. */
export class TopicIndex {
  readonly #revisions = new Map<Topic, number>();
  readonly #waiters = new Map<Topic, Set<() => void>>();
  readonly #touched = new Set<Topic>();
  readonly #maxTopics: number;
  #floor = 1;

  constructor(limit: number = maxTopics) {
    this.#maxTopics = limit;
  }

  /** The revision below which nothing is known of single topics: that of the snapshot the process started from. */
  get floor(): number {
    return this.#floor;
  }

  /** @returns the index of one topic: at least 1, never less than before, also for what does not exist (any more). */
  indexOf(topic: Topic): number {
    return Math.max(this.#floor, this.#revisions.get(topic) ?? 0);
  }

  readonly touch: Touch = (topic) => {
    this.#touched.add(topic);
  };

  /**
   * Gives all touched topics this revision and wakes whoever waits for one of them.
   * @returns what was touched
   */
  publish(revision: number): ReadonlySet<Topic> {
    const touched = new Set(this.#touched);
    this.#touched.clear();
    for (const topic of touched) this.#revisions.set(topic, revision);
    if (this.#revisions.size > this.#maxTopics) {
      this.raiseFloor(revision);
      return touched;
    }
    for (const topic of touched) for (const wake of this.#waiters.get(topic) ?? []) wake();
    return touched;
  }

  /** From here on every topic counts as changed at this revision. Wakes everyone. */
  raiseFloor(revision: number): void {
    this.#floor = Math.max(this.#floor, revision);
    this.#revisions.clear();
    for (const waiters of this.#waiters.values()) for (const wake of waiters) wake();
  }

  /** Calls `wake` at each change of the topic. @returns the way to stop */
  subscribe(topic: Topic, wake: () => void): () => void {
    const waiters = this.#waiters.get(topic) ?? new Set();
    this.#waiters.set(topic, waiters.add(wake));
    return () => {
      waiters.delete(wake);
      if (waiters.size === 0 && this.#waiters.get(topic) === waiters) this.#waiters.delete(topic);
    };
  }

  /** Readers waiting now, for the metrics. */
  get waiting(): number {
    let count = 0;
    for (const waiters of this.#waiters.values()) count += waiters.size;
    return count;
  }
}
