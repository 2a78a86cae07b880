import type { Intention } from './intention.ts';

/** The name that stands for every service, as source or destination. */
export const wildcard = '*';

/**
 * Consul's precedence for names in one namespace: 9 name to name, 8 `*` to name, 6 name to `*`, 5 `*` to `*`. The higher is consulted first.
 * Source: computeIntentionPrecedence, agent/structs/config_entry_intentions.go.
 */
export function precedenceOf(source: string, destination: string): number {
  return (destination === wildcard ? 6 : 9) - (source === wildcard ? 1 : 0);
}

/**
 * The order in which intentions are consulted: precedence, then source and destination byte-wise (Consul's tie-break). Total on distinct pairs; of two
 * with the same pair, which a store never holds, the later written one comes first.
 */
export function compareIntentions(a: Intention, b: Intention): number {
  return (
    precedenceOf(b.source, b.destination) - precedenceOf(a.source, a.destination) ||
    compareText(a.source, b.source) ||
    compareText(a.destination, b.destination) ||
    b.modifyIndex - a.modifyIndex
  );
}

/** Whether an intention speaks of this pair of services. */
export function appliesTo(
  intention: Pick<Intention, 'source' | 'destination'>,
  source: string,
  destination: string,
): boolean {
  return (
    (intention.source === source || intention.source === wildcard) &&
    (intention.destination === destination || intention.destination === wildcard)
  );
}

/** L7 rules on a wildcard destination: a guard. Its denies come first, its allows never widen, precedence passes it by. */
export function isGuard(intention: Pick<Intention, 'destination' | 'permissions'>): boolean {
  return intention.destination === wildcard && (intention.permissions?.length ?? 0) > 0;
}

/**
 * The one intention that controls a pair of services (Consul: "only one intention controls authorization"), guards aside.
 * @param intentions in the order of compareIntentions
 */
export function consultedIntention(
  intentions: readonly Intention[],
  source: string,
  destination: string,
): Intention | undefined {
  return intentions.find((intention) => appliesTo(intention, source, destination) && !isGuard(intention));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
