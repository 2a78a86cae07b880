import type { ResiliencePolicy } from '#policies/resilience.ts';
import type { Random } from '#runtime/clock.ts';

/** What a balancer needs to know of an endpoint. */
export interface BalancedEndpoint {
  readonly id: string;
  readonly status: 'passing' | 'warning' | 'critical';
  /** Share of the calls relative to the others; below 1 counts as 1. */
  readonly weight: number;
  /** Calls under way to it from this proxy. */
  readonly inFlight: number;
}

/**
 * Picks the endpoint of the next call. Candidates are those not critical and not ejected; when there is none, those not critical; when
 * there is none either, all (Envoy's panic mode): the catalog's view or ours may be wrong, and failing for certain helps nobody.
 * So a critical one is never picked while one that is not is there. A pick costs one or two passes over the endpoints and no allocation.
 */
export class Balancer<E extends BalancedEndpoint> {
  #kind: ResiliencePolicy['balancer'];
  readonly #random: Random;
  readonly #isEjected: (id: string) => boolean;
  #endpoints: readonly E[] = [];
  /** Standing of each endpoint in the smooth weighted round robin. */
  #standing = new Float64Array(0);

  /** @param isEjected OutlierDetector.isEjected */
  constructor(kind: ResiliencePolicy['balancer'], random: Random, isEjected: (id: string) => boolean) {
    this.#kind = kind;
    this.#random = random;
    this.#isEjected = isEjected;
  }

  update(kind: ResiliencePolicy['balancer']): void {
    this.#kind = kind;
  }

  /** The endpoints there are. Each begins at a chance standing, so that many proxies do not all begin with the same. */
  setEndpoints(endpoints: readonly E[]): void {
    const before = new Map(this.#endpoints.map((endpoint, index) => [endpoint.id, this.#standing[index] ?? 0]));
    this.#standing = Float64Array.from(
      endpoints,
      ({ id, weight }) => before.get(id) ?? this.#random() * Math.max(1, weight),
    );
    this.#endpoints = endpoints;
  }

  /** True when calls go to endpoints that are out, for want of others. */
  get panicking(): boolean {
    return this.#endpoints.length > 0 && this.#tier() !== 'healthy';
  }

  /**
   * @param excluded not to be picked: tried already, or their breaker is open
   * @returns undefined when no candidate is left. It does not fall back on those that are out because the others are excluded.
   */
  pick(excluded?: readonly E[]): E | undefined {
    const tier = this.#tier();
    return this.#kind === 'least-request' ? this.#leastRequest(tier, excluded) : this.#roundRobin(tier, excluded);
  }

  #tier(): Tier {
    let tier: Tier = 'all';
    for (const { id, status } of this.#endpoints) {
      if (status === 'critical') continue;
      if (!this.#isEjected(id)) return 'healthy';
      tier = 'not-critical';
    }
    return tier;
  }

  #isCandidate(endpoint: E, tier: Tier, excluded: readonly E[] | undefined): boolean {
    if (tier !== 'all' && endpoint.status === 'critical') return false;
    if (tier === 'healthy' && this.#isEjected(endpoint.id)) return false;
    return excluded === undefined || !excluded.includes(endpoint);
  }

  /** Smooth weighted round robin (nginx): each candidate gains its weight, the highest is taken and pays for all. */
  #roundRobin(tier: Tier, excluded: readonly E[] | undefined): E | undefined {
    let best: E | undefined;
    let bestAt = -1;
    let total = 0;
    for (let at = 0; at < this.#endpoints.length; at++) {
      const endpoint = this.#endpoints[at];
      if (endpoint === undefined || !this.#isCandidate(endpoint, tier, excluded)) continue;
      const weight = Math.max(1, endpoint.weight);
      total += weight;
      const standing = (this.#standing[at] ?? 0) + weight;
      this.#standing[at] = standing;
      if (best === undefined || standing > (this.#standing[bestAt] ?? 0)) {
        best = endpoint;
        bestAt = at;
      }
    }
    if (best !== undefined) this.#standing[bestAt] = (this.#standing[bestAt] ?? 0) - total;
    return best;
  }

  /** The less busy for its weight of two chance candidates (power of two choices): near the best, without a herd on it. */
  #leastRequest(tier: Tier, excluded: readonly E[] | undefined): E | undefined {
    let count = 0;
    for (const endpoint of this.#endpoints) if (this.#isCandidate(endpoint, tier, excluded)) count += 1;
    if (count === 0) return undefined;
    const first = Math.floor(this.#random() * count);
    const left = this.#nth(first, tier, excluded);
    if (count === 1 || left === undefined) return left;
    const right = this.#nth((first + 1 + Math.floor(this.#random() * (count - 1))) % count, tier, excluded);
    return right !== undefined && load(right) < load(left) ? right : left;
  }

  #nth(index: number, tier: Tier, excluded: readonly E[] | undefined): E | undefined {
    let left = index;
    for (const endpoint of this.#endpoints)
      if (this.#isCandidate(endpoint, tier, excluded) && left-- === 0) return endpoint;
    return undefined;
  }
}

type Tier = 'healthy' | 'not-critical' | 'all';

function load(endpoint: BalancedEndpoint): number {
  return (endpoint.inFlight + 1) / Math.max(1, endpoint.weight);
}
