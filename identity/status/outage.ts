import type { HeldSvid } from './held-svids.ts';

/**
 * How long the mesh can do without a CA (blueprint section 6: 150 minutes at the default). SVIDs are renewed at a third of their life; what is left from
 * there on is the outage budget. Pure: a function of what was issued.
 */

/** Whether SVIDs can be renewed, and for how long nobody notices when they can't. */
export interface Outage {
  /** Until the first SVID runs out that would be renewed if it could: from now, if the CA failed now, or since it did. Undefined: nobody holds one. */
  readonly timeToOutageMs: number | undefined;
  /** What that is at the least while all is well. */
  readonly budgetMs: number | undefined;
  /** `ok`; `failing`: renewals fail, and there is time; `red`: half of the budget is gone. */
  readonly state: 'ok' | 'failing' | 'red';
}

/** Whoever has not renewed at half of the life is not there to renew: a node that is off is no outage. */
const absentAtFraction = 1 / 2;

/**
 * @param held newest SVID of each holder, expired ones of a running outage included
 * @param failingSinceMs since when the CA can't sign; undefined: it can
 */
export function outageOf(held: readonly HeldSvid[], nowMs: number, failingSinceMs: number | undefined): Outage {
  // During a failure nobody can renew: who was there when it began counts.
  const referenceMs = failingSinceMs ?? nowMs;
  const present = held.filter(
    ({ issuedAtMs, notAfterMs }) =>
      notAfterMs > referenceMs && referenceMs < issuedAtMs + (notAfterMs - issuedAtMs) * absentAtFraction,
  );
  if (present.length === 0)
    return { timeToOutageMs: undefined, budgetMs: undefined, state: failingSinceMs === undefined ? 'ok' : 'red' };
  let [firstEndMs, budgetMs] = [Infinity, Infinity];
  for (const { issuedAtMs, notAfterMs } of present) {
    firstEndMs = Math.min(firstEndMs, notAfterMs);
    budgetMs = Math.min(budgetMs, ((notAfterMs - issuedAtMs) * 2) / 3);
  }
  const timeToOutageMs = Math.max(0, firstEndMs - nowMs);
  if (failingSinceMs === undefined) return { timeToOutageMs, budgetMs, state: 'ok' };
  return { timeToOutageMs, budgetMs, state: timeToOutageMs <= budgetMs / 2 ? 'red' : 'failing' };
}
