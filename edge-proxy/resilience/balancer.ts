import type { Random } from '#runtime/clock.ts';
import { defaultRingSize, type HashPlaces, hashRing, maglevTable } from './hash-places.ts';

/** How the next endpoint is chosen. */
export type BalancerChoice =
  | { readonly policy: 'round-robin' | 'random' | 'maglev' }
  /** The least busy of so many; absent: two. */
  | { readonly policy: 'least-request'; readonly choices?: number }
  | { readonly policy: 'ring-hash'; readonly minimumRingSize?: number; readonly maximumRingSize?: number };

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
 * Picks the endpoint of the next call. Candidates are those not critical and not ejected; when there is none, or too few for the panic threshold, those not critical; when
 * there is none either, all (Envoy's panic mode): the catalog's view or ours may be wrong, and failing for certain helps nobody.
 * So a critical one is never picked while one that is not is there. A pick costs one or two passes over the endpoints and no allocation.
 */
export class Balancer<E extends BalancedEndpoint> {
  #choice: BalancerChoice;
  #panicThreshold = 0;
  /** Of ring-hash and maglev, made when a hash is first looked up. */
  #places: HashPlaces | undefined;
  readonly #random: Random;
  readonly #isEjected: (id: string) => boolean;
  #endpoints: readonly E[] = [];
  /** As they were when they came: an endpoint's own may change. */
  #weights: readonly number[] = [];
  /** Standing of each endpoint in the smooth weighted round robin. */
  #standing = new Float64Array(0);

  /** @param isEjected OutlierDetector.isEjected */
  constructor(choice: BalancerChoice, random: Random, isEjected: (id: string) => boolean) {
    this.#choice = choice;
    this.#random = random;
    this.#isEjected = isEjected;
  }

  /** @param panicThreshold while fewer than this share of the endpoints are healthy, the others are candidates, too; 0: only when none is */
  update(choice: BalancerChoice, panicThreshold = 0): void {
    this.#panicThreshold = panicThreshold;
    if (JSON.stringify(choice) !== JSON.stringify(this.#choice)) this.#places = undefined;
    this.#choice = choice;
  }

  /** The endpoints there are. Each begins at a chance standing, so that many proxies do not all begin with the same. */
  setEndpoints(endpoints: readonly E[]): void {
    const before = new Map(this.#endpoints.map((endpoint, index) => [endpoint.id, this.#standing[index] ?? 0]));
    this.#standing = Float64Array.from(
      endpoints,
      ({ id, weight }) => before.get(id) ?? this.#random() * Math.max(1, weight),
    );
    const same =
      endpoints.length === this.#endpoints.length &&
      endpoints.every(({ id, weight }, at) => this.#weights[at] === weight && this.#endpoints[at]?.id === id);
    if (!same) this.#places = undefined;
    this.#endpoints = endpoints;
    this.#weights = endpoints.map(({ weight }) => weight);
  }

  /** True when there is one that is neither critical nor ejected. */
  get healthy(): boolean {
    return this.#endpoints.some(({ id, status }) => status !== 'critical' && !this.#isEjected(id));
  }

  /** True when calls go to endpoints that are out, for want of others. */
  get panicking(): boolean {
    return this.#endpoints.length > 0 && this.#tier() !== 'healthy';
  }

  /**
   * @param excluded not to be picked: tried already, or their breaker is open
   * @param hash of what the request is to be held together by; undefined: nothing, and then ring-hash and maglev choose at random
   * @returns undefined when no candidate is left. It does not fall back on those that are out because the others are excluded.
   */
  pick(excluded?: readonly E[], hash?: number): E | undefined {
    const tier = this.#tier();
    const { policy } = this.#choice;
    switch (policy) {
      case 'round-robin':
        return this.#roundRobin(tier, excluded);
      case 'least-request':
        return this.#leastRequest(tier, excluded);
      case 'random':
        return this.#atRandom(tier, excluded);
      case 'ring-hash':
      case 'maglev':
        return hash === undefined ? this.#atRandom(tier, excluded) : this.#byHash(hash, tier, excluded);
    }
  }

  #tier(): Tier {
    if (this.#panicThreshold > 0) return this.#tierByShare();
    let tier: Tier = 'all';
    for (const { id, status } of this.#endpoints) {
      if (status === 'critical') continue;
      if (!this.#isEjected(id)) return 'healthy';
      tier = 'not-critical';
    }
    return tier;
  }

  /** As above, where a few healthy ones are not enough: all of the load on them would be their end. */
  #tierByShare(): Tier {
    let healthy = 0;
    let notCritical = 0;
    for (const { id, status } of this.#endpoints) {
      if (status === 'critical') continue;
      notCritical += 1;
      if (!this.#isEjected(id)) healthy += 1;
    }
    const needed = Math.max(1, this.#panicThreshold * this.#endpoints.length);
    if (healthy >= needed) return 'healthy';
    return notCritical >= needed ? 'not-critical' : 'all';
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

  /** The less busy for its weight of two chance candidates (power of two choices), or of more: near the best, without a herd on it. */
  #leastRequest(tier: Tier, excluded: readonly E[] | undefined): E | undefined {
    let count = 0;
    for (const endpoint of this.#endpoints) if (this.#isCandidate(endpoint, tier, excluded)) count += 1;
    if (count === 0) return undefined;
    const choices = this.#choice.policy === 'least-request' ? (this.#choice.choices ?? 2) : 2;
    let at = Math.floor(this.#random() * count);
    let best = this.#nth(at, tier, excluded);
    for (let looked = 1; looked < Math.min(choices, count); looked++) {
      // Never the same one twice in a row; where all are to be looked at, each once.
      at = (at + 1 + (choices >= count ? 0 : Math.floor(this.#random() * (count - 1)))) % count;
      const other = this.#nth(at, tier, excluded);
      if (other !== undefined && best !== undefined && load(other) < load(best)) best = other;
    }
    return best;
  }

  /** By chance, in proportion to the weights. */
  #atRandom(tier: Tier, excluded: readonly E[] | undefined): E | undefined {
    let total = 0;
    for (const endpoint of this.#endpoints)
      if (this.#isCandidate(endpoint, tier, excluded)) total += Math.max(1, endpoint.weight);
    let left = this.#random() * total;
    let last: E | undefined;
    for (const endpoint of this.#endpoints) {
      if (!this.#isCandidate(endpoint, tier, excluded)) continue;
      last = endpoint;
      left -= Math.max(1, endpoint.weight);
      if (left < 0) return endpoint;
    }
    return last;
  }

  #byHash(hash: number, tier: Tier, excluded: readonly E[] | undefined): E | undefined {
    if (this.#endpoints.length === 0) return undefined;
    this.#places ??= this.#makePlaces();
    const found = this.#places.find(hash, (index) => {
      const endpoint = this.#endpoints[index];
      return endpoint !== undefined && this.#isCandidate(endpoint, tier, excluded);
    });
    return this.#endpoints[found];
  }

  #makePlaces(): HashPlaces {
    const choice = this.#choice;
    if (choice.policy !== 'ring-hash') return maglevTable(this.#endpoints);
    const { minimumRingSize: minimum = defaultRingSize.minimum, maximumRingSize: maximum = defaultRingSize.maximum } =
      choice;
    return hashRing(this.#endpoints, { minimum, maximum });
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
