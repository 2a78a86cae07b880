import type { IntentionAction, JwtRequirement } from '#policies/intention.ts';
import { inForce, isExpired } from '#policies/intention-expiry.ts';
import type { IntentionDraft } from '#policies/intention-form.ts';
import { precedenceOf } from '#policies/intention-precedence.ts';
import { refuseUnknownProviders } from '../jwt/providers.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import type { StoredIntention } from '../state/config-entries.ts';
import { encode } from '../state/indexed.ts';
import { keyOf } from '../state/keys.ts';
import { type Change, planHistory } from './history.ts';
import { type Rules, refuseOpening, refuseShadowing } from './shadow.ts';
import { writeWarnings } from './warning.ts';

/** Who writes, and how to judge it. */
export interface WriteRules extends Change {
  readonly defaultAction: IntentionAction;
  /** The writer has seen what it hides. */
  readonly force: boolean;
  /** Written in a form of Consul's, which has no mode and no end: those of the pair stay as they are. */
  readonly consulForm?: true;
  /** Judged already, along with what is written with it, and its writer warned. */
  readonly judged?: true;
}

/** What belongs to a destination, with its intentions in one form or another. */
type EntryOf<Intentions> = Intentions & {
  readonly meta: Readonly<Record<string, string>>;
  readonly jwt: JwtRequirement | undefined;
};

/** What a write came to. */
export interface Written {
  /** What the writer should think about, a sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Plans one intention: its element in the destination's entry, replaced where it is or added at the end.
 * @throws MeshError SLV-3005
 */
export function planIntention(state: CatalogState, draft: IntentionDraft, rules: WriteRules): WritePlan<Written> {
  const { destination } = draft;
  const entry = entryOf(state, destination);
  const before = entry?.record.intentions ?? [];
  const at = before.findIndex(({ source }) => source === draft.source);
  const stored = toStored(draft, before[at], rules);
  const intentions = at < 0 ? [...before, stored] : before.with(at, stored);
  const { Meta: meta = {}, JWT: jwt } = entry?.record ?? {};
  return planEntry(state, destination, { intentions, meta, jwt }, [draft.source], rules);
}

/**
 * Plans the end of some intentions; with its last one the entry ends. What is not there has ended already (Consul).
 * @param ends which ones; default all
 */
export function planIntentionEnd(
  state: CatalogState,
  destination: string,
  change: Change,
  ends: (intention: StoredIntention) => boolean = () => true,
): WritePlan<boolean> {
  const entry = entryOf(state, destination);
  const before = entry?.record.intentions ?? [];
  const rest = before.filter((intention) => !ends(intention));
  if (entry === undefined || rest.length === before.length) return { compare: [], operations: [], result: false };
  const key = keyOf('config', 'service-intentions', destination);
  const value = encode({ ...entry.record, intentions: rest });
  const history = planHistory(state, destination, before, rest, change);
  return {
    compare: [unchanged(key, entry.modifyIndex), ...history.compare],
    operations: [rest.length === 0 ? { kind: 'delete', key } : { kind: 'put', key, value }, ...history.operations],
    result: true,
  };
}

/**
 * Plans a whole entry: all intentions of one destination at once.
 * @throws MeshError SLV-3005
 */
export function planIntentions(
  state: CatalogState,
  destination: string,
  written: EntryOf<{ readonly drafts: readonly IntentionDraft[] }>,
  rules: WriteRules,
): WritePlan<Written> {
  const before = entryOf(state, destination)?.record.intentions ?? [];
  const intentions = written.drafts.map((draft) =>
    toStored(
      draft,
      before.find(({ source }) => source === draft.source),
      rules,
    ),
  );
  const sources = written.drafts.map(({ source }) => source);
  return planEntry(state, destination, { intentions, meta: written.meta, jwt: written.jwt }, sources, rules);
}

function planEntry(
  state: CatalogState,
  destination: string,
  after: EntryOf<{ readonly intentions: readonly StoredIntention[] }>,
  changedSources: readonly string[],
  rules: WriteRules,
): WritePlan<Written> {
  const said = after.jwt === undefined ? { destination } : { destination, jwt: after.jwt };
  const asRules = (stored: StoredIntention): Rules => ({ ...stored, ...said });
  const changed = after.intentions.filter(({ source }) => changedSources.includes(source)).map(asRules);
  const warnings =
    rules.judged === true ? [] : judge(state, destination, changed, after.intentions.map(asRules), rules);
  const key = keyOf('config', 'service-intentions', destination);
  const entry = entryOf(state, destination);
  const record = {
    Kind: 'service-intentions',
    Name: destination,
    Meta: after.meta,
    ...(after.jwt === undefined ? {} : { JWT: after.jwt }),
    intentions: after.intentions,
  };
  const same = entry !== undefined && JSON.stringify(entry.record) === JSON.stringify(record);
  const history = planHistory(state, destination, entry?.record.intentions ?? [], after.intentions, rules);
  return {
    compare: [unchanged(key, entry?.modifyIndex), ...history.compare],
    operations: same ? [] : [{ kind: 'put', key, value: encode(record) }, ...history.operations],
    result: { warnings },
  };
}

/** @returns what the writer should know. @throws MeshError SLV-3005, SLV-5004 */
function judge(
  state: CatalogState,
  destination: string,
  changed: readonly Rules[],
  after: readonly Rules[],
  rules: WriteRules,
): string[] {
  const before = inForce(state.intentions.list(), rules.nowMs).intentions;
  refuseUnknownProviders(state, changed);
  const everything = [...before.filter((one) => one.destination !== destination), ...after];
  for (const intention of rules.force ? [] : changed) {
    refuseShadowing(intention, everything, rules.defaultAction);
    refuseOpening(intention, before, rules);
  }
  return writeWarnings(state, destination, changed, everything);
}

function entryOf(state: CatalogState, destination: string) {
  const entry = state.config.get('service-intentions', destination);
  return entry?.record.Kind === 'service-intentions' ? { ...entry, record: entry.record } : undefined;
}

function toStored(draft: IntentionDraft, replaced: StoredIntention | undefined, rules: WriteRules): StoredIntention {
  const { nowMs } = rules;
  const before = replaced !== undefined && isExpired(replaced, nowMs) ? undefined : replaced;
  const mode: Pick<StoredIntention, 'observe' | 'expiresAtMs'> = rules.consulForm === true ? (before ?? {}) : draft;
  const said = {
    source: draft.source,
    ...(draft.action === undefined ? {} : { action: draft.action }),
    ...(draft.permissions === undefined ? {} : { permissions: draft.permissions }),
    ...(draft.description ? { description: draft.description } : {}),
    ...(mode.observe === true ? { observe: true as const } : {}),
    ...(mode.expiresAtMs === undefined ? {} : { expiresAtMs: mode.expiresAtMs }),
    precedence: precedenceOf(draft.source, draft.destination),
  };
  if (before !== undefined) {
    const { createdAtMs, updatedAtMs, ...saidBefore } = before;
    const same = JSON.stringify(saidBefore) === JSON.stringify(said);
    return { ...said, createdAtMs, updatedAtMs: same ? updatedAtMs : nowMs };
  }
  return { ...said, createdAtMs: nowMs, updatedAtMs: nowMs };
}
