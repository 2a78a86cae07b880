import { createHash } from 'node:crypto';
import type { Intention } from '#policies/intention.ts';
import { formatIntention } from '#policies/intention-form.ts';
import type { CatalogState } from '../state/catalog-state.ts';

/**
 * The UUID of an intention for clients of Consul's deprecated API, which name intentions by it. Made of the pair that the intention is about, which
 * tells it apart anyway: nothing is stored, whichever API wrote it, and it is the same after it was deleted and written again.
 */
export function intentionId({ source, destination }: Pick<Intention, 'source' | 'destination'>): string {
  const hex = createHash('sha256').update(`selvedge intention ${source} -> ${destination}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** @returns the intention of this UUID; the case of its letters is no matter */
export function findIntention(state: CatalogState, id: string): Intention | undefined {
  const wanted = id.toLowerCase();
  return state.intentions.list().find((intention) => intentionId(intention) === wanted);
}

/** An intention as Consul's API shows it. */
export function intentionView(intention: Intention): object {
  return { ID: intentionId(intention), ...formatIntention(intention) };
}
