/** What clients of the KV did and were told, as the checker (go/main.go) reads it. Every key is a register of its own. */

/** The value of a key that is not there. */
export const nothing = '';

/** One operation on one key. Times are in microseconds of one monotonic clock, rounded so that the operation seems longer, never shorter. */
export interface Operation {
  readonly client: number;
  readonly kind: 'put' | 'cas' | 'delete' | 'get';
  readonly key: string;
  /** What a `cas` took to be there. */
  readonly expected?: string;
  /** Written, or read. */
  readonly value: string;
  readonly callUs: number;
  readonly returnUs: number;
  /** `refused`: a `cas` that was told no. `unknown`: no answer, or none that says what was done; it may still take effect, at any later moment. */
  readonly outcome: 'done' | 'refused' | 'unknown';
}

/** A read without `?consistent` of one session, in the session's order. */
export interface DefaultRead {
  /** Names the client, and the catalog where it asks no other. */
  readonly session: string;
  readonly key: string;
  /** The index that the client sent along, 0: none. */
  readonly sentIndex: number;
  /** X-Consul-Index of the answer. */
  readonly index: number;
  /** ModifyIndex of the entry, 0: it was not there. */
  readonly modifyIndex: number;
}

/** All that one run recorded. */
export interface History {
  readonly operations: readonly Operation[];
  readonly defaultReads: readonly DefaultRead[];
}

/** What a run must have done at least, for its silence to mean something. */
export interface MinimumLoad {
  readonly writes: number;
  readonly casDone: number;
  readonly casRefused: number;
  readonly consistentReads: number;
  readonly defaultReads: number;
}

/** What a run did. */
export interface Load extends MinimumLoad {
  readonly unknown: number;
}

/** @returns how much was done, whatever came of it */
export function loadOf({ operations, defaultReads }: History): Load {
  const count = (...conditions: readonly `${Operation['kind']} ${Operation['outcome']}`[]): number =>
    operations.filter(({ kind, outcome }) => conditions.some((one) => one === `${kind} ${outcome}`)).length;
  return {
    writes: count('put done', 'delete done', 'cas done'),
    casDone: count('cas done'),
    casRefused: count('cas refused'),
    consistentReads: count('get done'),
    defaultReads: defaultReads.length,
    unknown: operations.filter(({ outcome }) => outcome === 'unknown').length,
  };
}

/** Throws when a run did too little to have found anything. */
export function requireLoad(load: Load, minimum: MinimumLoad): void {
  const names = ['writes', 'casDone', 'casRefused', 'consistentReads', 'defaultReads'] as const;
  const low = names.filter((name) => load[name] < minimum[name]);
  if (low.length === 0) return;
  const words = low.map((name) => `${load[name]} ${name}, at least ${minimum[name]} are needed`);
  throw new Error(`too little load to say anything: ${words.join('; ')}`);
}
