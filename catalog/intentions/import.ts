import { MeshError } from '#policies/errors/mesh-error.ts';
import type { JwtRequirement } from '#policies/intention.ts';
import { diffIntentions } from '#policies/intention-diff.ts';
import { inForce, isExpired } from '#policies/intention-expiry.ts';
import type { FiledDestination, FiledIntentions } from '#policies/intention-file.ts';
import type { IntentionDraft } from '#policies/intention-form.ts';
import { precedenceOf, wildcard } from '#policies/intention-precedence.ts';
import { unknownProvider, unknownProviders } from '../jwt/providers.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { CatalogWriter, WritePlan } from '../state/catalog-writer.ts';
import type { StoredIntention } from '../state/config-entries.ts';
import { planIntentionEnd, planIntentions, type WriteRules } from './plan.ts';
import { type Rules, refuseEverywhere, refuseOpening, refuseShadowing } from './shadow.ts';
import { writeWarnings } from './warning.ts';

/** How a file of intentions is taken in. */
export interface ImportRules extends Omit<WriteRules, 'how' | 'consulForm' | 'judged'> {
  /** What is not in the file ends. */
  readonly prune: boolean;
  /** Of pairs that there are, mode and end stay: the file is made of a form that has none. */
  readonly keepModes: boolean;
  /** Nothing is written: providers of tokens that are not there are warned of, for they may come first. */
  readonly dryRun: boolean;
  /** An allow to `*` is meant. */
  readonly everywhere: boolean;
}

/** What becomes of one pair. */
export interface ImportedChange {
  readonly source: string;
  readonly destination: string;
  /** As in policies/intention-diff.ts. */
  readonly diff: readonly string[];
}

/** What an import does, or would do. */
export interface ImportPlan {
  readonly changes: readonly ImportedChange[];
  /** Pairs of the file that are stored as it says. */
  readonly unchanged: number;
  /** Destinations whose Meta, or the token that they ask for, becomes another. */
  readonly meta: readonly string[];
  readonly warnings: readonly string[];
  /** Destinations that are written, all or some of which make a step. */
  readonly destinations: readonly string[];
}

/** Destinations of one transaction: of each the entry, its history and what of that goes, within what a store takes at once. */
const maxPerStep = 40;
/** Bytes of one transaction, far below what etcd takes. */
const maxStepBytes = 524_288;

interface After {
  readonly destination: string;
  readonly drafts: readonly IntentionDraft[];
  readonly meta: Readonly<Record<string, string>>;
  readonly jwt: JwtRequirement | undefined;
}

/**
 * What a file would change, judged as a whole: each intention against all that is in force once everything is written.
 * @throws MeshError SLV-3005, SLV-3011
 */
export function planImport(state: CatalogState, file: FiledIntentions, rules: ImportRules): ImportPlan {
  const { targets, changes, written, everything, unknown } = assess(state, file, rules);
  const destinations = targets.filter((after) => planDestination(state, after, rules).operations.length > 0);
  const filed = file.destinations.reduce((sum, { drafts }) => sum + drafts.length, 0);
  return {
    changes,
    unchanged: filed - written.length,
    meta: targets.filter((after) => metaChanges(state, after)).map(({ destination }) => destination),
    warnings: [
      ...unknown.map((name) => unknownProvider(name).message),
      ...destinations.flatMap(({ destination }) => {
        const own = written.filter((draft) => draft.destination === destination);
        return writeWarnings(state, destination, own, everything);
      }),
    ],
    destinations: destinations.map(({ destination }) => destination),
  };
}

/**
 * Takes a file in. In one transaction where it fits. Else in several, each of whole destinations, so that whenever it ends each destination is as it was or as the
 * file says, never between; that holds only while what stands for every destination (`*`) is not changed along with them.
 * @returns in how many steps
 * @throws MeshError SLV-3005, SLV-3011, SLV-3012, and what the writer throws
 */
export async function applyImport(
  parts: { readonly state: CatalogState; readonly writer: CatalogWriter },
  file: FiledIntentions,
  rules: ImportRules,
): Promise<number> {
  const { state, writer } = parts;
  const { destinations } = planImport(state, file, rules);
  const steps = stepsOf(state, file, rules, destinations);
  if (steps.length > 1 && destinations.includes(wildcard)) {
    throw new MeshError(
      'SLV-3012',
      `The import changes ${destinations.length} destinations, which takes ${steps.length} transactions, and * is one of them.`,
    );
  }
  for (const [done, step] of steps.entries()) {
    try {
      await writer.commit(() => planStep(state, file, rules, step));
    } catch (error) {
      if (done === 0) throw error;
      throw new MeshError(
        'SLV-3013',
        `The import ended after ${done} of ${steps.length} steps: ${error instanceof Error ? error.message : 'unknown'}`,
        { cause: error, detail: { steps: steps.length, done } },
      );
    }
  }
  return steps.length;
}

function planStep(
  state: CatalogState,
  file: FiledIntentions,
  rules: ImportRules,
  step: ReadonlySet<string> | undefined,
): WritePlan<undefined> {
  // Judged again as a whole: another writer may have come between.
  const plans = assess(state, file, rules)
    .targets.filter(({ destination }) => step === undefined || step.has(destination))
    .map((after) => planDestination(state, after, rules));
  return {
    compare: plans.flatMap(({ compare }) => compare),
    operations: plans.flatMap(({ operations }) => operations),
    result: undefined,
  };
}

/** One step: all that there is, also what another writer makes necessary meanwhile. More: those destinations each. */
function stepsOf(
  state: CatalogState,
  file: FiledIntentions,
  rules: ImportRules,
  destinations: readonly string[],
): (ReadonlySet<string> | undefined)[] {
  const sizes = new Map(
    afterImport(state, file, rules).map((after) => [after.destination, bytesOf(planDestination(state, after, rules))]),
  );
  const steps: Set<string>[] = [];
  let bytes = 0;
  for (const destination of destinations) {
    const size = sizes.get(destination) ?? 0;
    const last = steps.at(-1);
    if (last === undefined || last.size >= maxPerStep || bytes + size > maxStepBytes) {
      steps.push(new Set([destination]));
      bytes = size;
    } else {
      last.add(destination);
      bytes += size;
    }
  }
  return steps;
}

function bytesOf({ operations }: WritePlan<unknown>): number {
  return operations.reduce((sum, one) => sum + (one.kind === 'put' ? one.value.byteLength : 0), 0);
}

/** What each destination says once the file is in; those that the file has no word on are there only when they end. */
function afterImport(state: CatalogState, file: FiledIntentions, { prune, keepModes, nowMs }: ImportRules): After[] {
  const named = file.destinations.map((filed): After => {
    const before = entryOf(state, filed.destination);
    const meta = filed.meta ?? (prune ? {} : (before?.Meta ?? {}));
    const jwt = filed.jwt ?? (prune ? undefined : before?.JWT);
    const stored = (before?.intentions ?? []).filter((one) => !isExpired(one, nowMs));
    const drafts = keepModes ? filed.drafts.map((draft) => withModeOf(draft, stored)) : filed.drafts;
    return { destination: filed.destination, drafts: prune ? drafts : merged(stored, { ...filed, drafts }), meta, jwt };
  });
  if (!prune) return named;
  const filed = new Set(named.map(({ destination }) => destination));
  const gone = state.config
    .list('service-intentions')
    .filter(({ record }) => !filed.has(record.Name))
    .map(({ record }): After => ({ destination: record.Name, drafts: [], meta: {}, jwt: undefined }));
  return [...named, ...gone];
}

function merged(before: readonly StoredIntention[], { destination, drafts }: FiledDestination): IntentionDraft[] {
  const kept = before.map(
    (stored) => drafts.find(({ source }) => source === stored.source) ?? { ...stored, destination },
  );
  const added = drafts.filter(({ source }) => !before.some((stored) => stored.source === source));
  return [...kept, ...added];
}

function withModeOf(draft: IntentionDraft, stored: readonly StoredIntention[]): IntentionDraft {
  const { observe, expiresAtMs } = stored.find(({ source }) => source === draft.source) ?? {};
  return {
    ...draft,
    ...(observe === undefined ? {} : { observe }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  };
}

function changesOf(state: CatalogState, after: After): ImportedChange[] {
  const { destination, drafts } = after;
  const before = entryOf(state, destination)?.intentions ?? [];
  const sources = new Set([...before, ...drafts].map(({ source }) => source));
  return [...sources].flatMap((source) => {
    const was = before.find((one) => one.source === source);
    const is = drafts.find((one) => one.source === source);
    const diff = diffIntentions(was, is);
    return diff.length === 0 ? [] : [{ source, destination, diff }];
  });
}

/** @throws MeshError SLV-3005, SLV-3011, SLV-5004 */
function assess(state: CatalogState, file: FiledIntentions, rules: ImportRules) {
  const targets = afterImport(state, file, rules);
  const changes = targets.flatMap((after) => changesOf(state, after));
  const changed = new Set(changes.map(({ source, destination }) => `${source} ${destination}`));
  const written = targets
    .flatMap(({ drafts }) => drafts)
    .filter(({ source, destination }) => changed.has(`${source} ${destination}`))
    .map(withPrecedence);
  const replaced = new Set(targets.map(({ destination }) => destination));
  const before = inForce(state.intentions.list(), rules.nowMs).intentions;
  const everything: Rules[] = [
    ...before.filter(({ destination }) => !replaced.has(destination)),
    ...targets.flatMap(({ drafts }) => drafts.map(withPrecedence)),
  ];
  const unknown = unknownProviders(
    state,
    targets.flatMap(({ drafts, jwt }) => [...drafts, ...(jwt === undefined ? [] : [{ jwt }])]),
  );
  const [missing] = unknown;
  if (missing !== undefined && !rules.dryRun) throw unknownProvider(missing);
  for (const draft of written) {
    if (!rules.everywhere) refuseEverywhere(draft);
    if (rules.force) continue;
    refuseShadowing(draft, everything, rules.defaultAction);
    refuseOpening(draft, before, rules);
  }
  return { targets, changes, written, everything, unknown };
}

function withPrecedence(draft: IntentionDraft): IntentionDraft & { readonly precedence: number } {
  return { ...draft, precedence: precedenceOf(draft.source, draft.destination) };
}

function planDestination(state: CatalogState, after: After, rules: ImportRules): WritePlan<unknown> {
  const { destination, drafts, meta, jwt } = after;
  const write = { ...rules, how: 'imported', judged: true } as const;
  return drafts.length === 0
    ? planIntentionEnd(state, destination, write)
    : planIntentions(state, destination, { drafts, meta, jwt }, write);
}

function metaChanges(state: CatalogState, { destination, drafts, meta, jwt }: After): boolean {
  const before = entryOf(state, destination);
  const said = (of: Readonly<Record<string, string>>, token: JwtRequirement | undefined) =>
    JSON.stringify([Object.entries(of).sort(), token]);
  return drafts.length > 0 && said(before?.Meta ?? {}, before?.JWT) !== said(meta, jwt);
}

function entryOf(state: CatalogState, destination: string) {
  return state.config.get('service-intentions', destination)?.record;
}
