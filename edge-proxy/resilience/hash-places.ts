import { keyHash } from './key-hash.ts';

/** Endpoints as a table of hashes knows them. */
export interface Weighed {
  readonly id: string;
  readonly weight: number;
}

/** Which endpoint a hash belongs to. */
export interface HashPlaces {
  /**
   * @param hash 32 bits
   * @param isCandidate by index; of those that are none, the next in the table's order takes their keys, and theirs only
   * @returns index of the endpoint; -1: there is no candidate
   */
  find(hash: number, isCandidate: (index: number) => boolean): number;
}

/** Sizes of a ring: places of all endpoints together. */
export interface RingSize {
  readonly minimum: number;
  readonly maximum: number;
}
/** Envoy's least, met or passed by less than twice; its most, 8 M, would be 64 MB for each target. */
export const defaultRingSize: RingSize = { minimum: 1_024, maximum: 65_536 };

/**
 * Ketama's ring (Envoy: ring_hash): each endpoint stands at places of its own by its id, as many as its weight is worth, and a hash belongs to the next place. One
 * that comes or goes takes or leaves its share of the keys and moves no other.
 */
export function hashRing(endpoints: readonly Weighed[], { minimum, maximum }: RingSize): HashPlaces {
  const units = endpoints.reduce((sum, { weight }) => sum + Math.max(1, weight), 0);
  const most = Math.min(maximum, defaultRingSize.maximum);
  // Places for each unit of weight: a power of two, so that it stays the same while a few endpoints come and go, and with it everyone's places.
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, minimum / units)));
  const share = Math.min(wanted, most / units);
  const places = endpoints.flatMap(({ id, weight }, index) => {
    const own = Math.max(1, Math.round(share * Math.max(1, weight)));
    return Array.from({ length: own }, (_, place) => ({ hash: keyHash(`${id}#${place}`), index }));
  });
  places.sort((left, right) => left.hash - right.hash || left.index - right.index);
  const hashes = Uint32Array.from(places, ({ hash }) => hash);
  const owners = Uint32Array.from(places, ({ index }) => index);
  return {
    find(hash, isCandidate) {
      let low = 0;
      for (let high = hashes.length; low < high; ) {
        const middle = (low + high) >>> 1;
        if ((hashes[middle] as number) < hash) low = middle + 1;
        else high = middle;
      }
      return firstCandidate(owners, low % owners.length, isCandidate);
    },
  };
}

/** Maglev's own choice for small tables, and Envoy's: a prime. */
const maglevSize = 65_537;

/**
 * Maglev's table (Eisenbud et al., 2016): endpoints take turns at choosing a place each, by an order of their own, until all are taken. More even than a ring, found
 * in one step; when one goes, a few keys of others move, too.
 */
export function maglevTable(endpoints: readonly Weighed[]): HashPlaces {
  const owners = new Uint32Array(maglevSize);
  const taken = new Uint8Array(maglevSize);
  const heaviest = Math.max(...endpoints.map(({ weight }) => Math.max(1, weight)));
  const turns = endpoints.map(({ id, weight }) => ({
    at: keyHash(id, 1) % maglevSize,
    skip: (keyHash(id, 2) % (maglevSize - 1)) + 1,
    share: Math.max(1, weight) / heaviest,
    due: 0,
  }));
  for (let left = endpoints.length === 0 ? 0 : maglevSize; left > 0; ) {
    for (const [index, turn] of turns.entries()) {
      // One of half the weight chooses every other time.
      turn.due += turn.share;
      if (turn.due < 1) continue;
      turn.due -= 1;
      while (taken[turn.at] === 1) turn.at = (turn.at + turn.skip) % maglevSize;
      taken[turn.at] = 1;
      owners[turn.at] = index;
      left -= 1;
      if (left === 0) break;
    }
  }
  return { find: (hash, isCandidate) => firstCandidate(owners, hash % maglevSize, isCandidate) };
}

function firstCandidate(owners: Uint32Array, start: number, isCandidate: (index: number) => boolean): number {
  for (let step = 0, at = start; step < owners.length; step++) {
    const owner = owners[at] as number;
    if (isCandidate(owner)) return owner;
    at = at + 1 === owners.length ? 0 : at + 1;
  }
  return -1;
}
