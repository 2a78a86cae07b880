import { diffIntentions } from '#policies/intention-diff.ts';
import type { Compare, Operation } from '#store/contract.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { StoredIntention } from '../state/config-entries.ts';
import { encode } from '../state/indexed.ts';
import type { IntentionHistoryRecord } from '../state/intention-history.ts';

/** Who changes intentions, when and how: for the history. */
export interface Change {
  readonly by: string;
  readonly how: IntentionHistoryRecord['How'];
  readonly nowMs: number;
}

/** One past write of one pair. */
export interface PastWrite {
  readonly source: string;
  readonly destination: string;
  /** The store's revision that it made. */
  readonly revision: number;
  readonly atMs: number;
  readonly by: string;
  readonly how: IntentionHistoryRecord['How'];
  /** Undefined: there was no intention of the pair. */
  readonly before: StoredIntention | undefined;
  /** Undefined: there is none from here on. */
  readonly after: StoredIntention | undefined;
  /** In words (policies/intention-diff.ts). */
  readonly diff: readonly string[];
}

/** What a write of one destination adds to its transaction: nothing where no pair says anything else afterwards. */
export function planHistory(
  state: CatalogState,
  destination: string,
  before: readonly StoredIntention[],
  after: readonly StoredIntention[],
  change: Change,
): { readonly compare: readonly Compare[]; readonly operations: readonly Operation[] } {
  const sources = new Set([...before, ...after].map(({ source }) => source));
  const changes = [...sources].flatMap((source) => {
    const [was, is] = [before, after].map((list) => list.find((one) => one.source === source));
    return diffIntentions(was, is).length === 0 ? [] : [{ source, before: was ?? null }];
  });
  if (changes.length === 0) return { compare: [], operations: [] };
  const { number, key, drop } = state.intentionHistory.next(destination);
  const record: IntentionHistoryRecord = {
    Destination: destination,
    Number: number,
    AtMs: change.nowMs,
    By: change.by,
    How: change.how,
    Changes: changes,
  };
  return {
    // The entry may have come and gone meanwhile, which its absence does not show.
    compare: [{ kind: 'absent', key }],
    operations: [
      { kind: 'put', key, value: encode(record) },
      ...drop.map((gone): Operation => ({ kind: 'delete', key: gone })),
    ],
  };
}

/** The writes of a destination that are remembered, pair by pair, the newest first. */
export function pastWrites(state: CatalogState, destination: string, source?: string): PastWrite[] {
  const held = state.config.get('service-intentions', destination)?.record;
  const now = held?.Kind === 'service-intentions' ? held.intentions : [];
  const after = new Map<string, StoredIntention | undefined>(now.map((stored) => [stored.source, stored]));
  return state.intentionHistory
    .of(destination)
    .reverse()
    .flatMap(({ record, modifyIndex }) =>
      record.Changes.map((change): PastWrite => {
        const became = after.get(change.source);
        const before = change.before ?? undefined;
        after.set(change.source, before);
        return {
          source: change.source,
          destination,
          revision: modifyIndex,
          atMs: record.AtMs,
          by: record.By,
          how: record.How,
          before,
          after: became,
          diff: diffIntentions(before, became),
        };
      }),
    )
    .filter((write) => source === undefined || write.source === source);
}
