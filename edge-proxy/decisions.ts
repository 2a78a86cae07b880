import type { Clock, RandomBytes } from '#runtime/clock.ts';

/** One refusal, or one that observe mode let through, as it can be looked up later (invariant 8). Texts are bounded; nothing of the request's headers or body is kept. */
export interface Decision {
  readonly id: string;
  readonly at: string;
  readonly direction: 'inbound' | 'outbound';
  /** SPIFFE ID of the caller, or the local service for outbound. */
  readonly source: string;
  readonly destination: string;
  readonly code: string;
  /** The rule that decided. */
  readonly rule: string;
  readonly reason: string;
  /** Which reading of the request matched, when not the canonical one. */
  readonly reading?: string;
  /** Revision of the intentions that were in force. */
  readonly revision?: number;
  readonly method?: string;
  readonly path?: string;
  /** Let through: an intention in observe mode would have refused it, and so `code`, `rule` and `reason` say. */
  readonly observed?: true;
}

/** What was only observed is kept in a ring of its own of this many, so that it never drives out a refusal. */
const maxObserved = 1_000;

/** The last refusals of a proxy, by id: a ring, so that memory is bounded whatever callers do. */
export class DecisionLog {
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #capacity: number;
  readonly #decisions = new Map<string, Decision>();
  readonly #observed = new Map<string, Decision>();
  #count = 0;

  /** @param capacity how many are kept; the oldest go first */
  constructor(clock: Clock, randomBytes: RandomBytes, capacity = 10_000) {
    this.#clock = clock;
    this.#capacity = capacity;
    // Unpredictable per process: ids of two proxies or of two lives of one never meet.
    this.#prefix = Buffer.from(randomBytes(6)).toString('hex');
  }

  /** Records a refusal. @returns it with its id, `<12 hex>-<count>` */
  record(decision: Omit<Decision, 'id' | 'at'>): Decision {
    this.#count += 1;
    const recorded: Decision = {
      id: `${this.#prefix}-${this.#count.toString(36)}`,
      at: new Date(this.#clock()).toISOString(),
      ...decision,
      rule: decision.rule.slice(0, 512),
      reason: decision.reason.slice(0, 1_024),
      ...(decision.path === undefined ? {} : { path: decision.path.slice(0, 1_024) }),
      ...(decision.method === undefined ? {} : { method: decision.method.slice(0, 32) }),
    };
    const [ring, capacity] = decision.observed ? [this.#observed, maxObserved] : [this.#decisions, this.#capacity];
    ring.set(recorded.id, recorded);
    if (ring.size > capacity) {
      const oldest = ring.keys().next().value;
      if (oldest !== undefined) ring.delete(oldest);
    }
    return recorded;
  }

  find(id: string): Decision | undefined {
    return this.#decisions.get(id) ?? this.#observed.get(id);
  }

  /** The newest first, at most `limit`. */
  latest(limit: number): Decision[] {
    return [this.#decisions, this.#observed]
      .flatMap((ring) => [...ring.values()].slice(-limit).reverse())
      .sort((a, b) => (a.at === b.at ? 0 : a.at < b.at ? 1 : -1))
      .slice(0, limit);
  }
}
