import type { Intention, JwtRequirement } from '#policies/intention.ts';
import { diffIntentions } from '#policies/intention-diff.ts';
import { completeIntention, type IntentionDraft } from '#policies/intention-form.ts';
import { compileOutlook, type Outlook } from '#policies/intention-outlook.ts';
import { wildcard } from '#policies/intention-precedence.ts';
import type { CatalogParts } from '../parts.ts';
import type { RecentUse, UsedCall } from './recent-use.ts';

/** A kind of call that an edit changes the answer of. */
export interface ChangedCall extends UsedCall {
  readonly before: Outlook;
  readonly after: Outlook;
}

/** What an edit of one pair would change. */
export interface Preview {
  readonly diff: readonly string[];
  /** Let in now, and not after. */
  readonly loses: readonly ChangedCall[];
  /** Refused now, and let in after. */
  readonly gains: readonly ChangedCall[];
  /** After, it depends on headers or tokens, which are not known. */
  readonly depends: readonly ChangedCall[];
  /** Kinds of call of the last hour that were looked at. */
  readonly considered: number;
  /** Calls that no kind is known of. */
  readonly missed: number;
}

/** Kinds of call that one preview looks at. */
const maxConsidered = 20_000;

/**
 * Asks the one evaluator of each kind of call of the last hour, by one path of its shape: what does it say now, and what if the pair said this?
 * @param draft undefined: the intention ends
 */
export function previewEdit(
  parts: Pick<CatalogParts, 'state' | 'defaultAction' | 'context'>,
  use: RecentUse,
  pair: { readonly source: string; readonly destination: string },
  draft: IntentionDraft | undefined,
): Preview {
  const { state, context } = parts;
  const before = state.intentions.list();
  const present = state.intentions.exact(pair.source, pair.destination);
  const others = before.filter((one) => one !== present);
  const after = draft === undefined ? others : [...others, complete(draft, jwtOf(before, pair.destination))];
  const destinations = pair.destination === wildcard ? use.destinations() : [pair.destination];
  const source = pair.source === wildcard ? undefined : pair.source;
  const loses: ChangedCall[] = [];
  const gains: ChangedCall[] = [];
  const depends: ChangedCall[] = [];
  let considered = 0;
  let missed = 0;
  for (const destination of destinations) {
    const input = {
      destination,
      protocol: state.protocolOf(destination),
      defaultAction: parts.defaultAction,
      revision: state.revision,
      nowMs: context.clock(),
    };
    const [now, then] = [before, after].map((all) => {
      const own = all.filter((one) => one.destination === destination || one.destination === wildcard);
      return bySource(compileOutlook({ ...input, intentions: own }));
    });
    missed += use.missed(destination);
    for (const call of use.of(destination, source)) {
      if (considered >= maxConsidered) {
        missed += call.allowed + call.denied + call.observed;
        continue;
      }
      considered += 1;
      const was = outlookOf(now, call);
      const is = outlookOf(then, call);
      if (was === is) continue;
      const changed = { ...call, before: was, after: is };
      const wasLetIn = was === 'allowed' || (was === 'depends' && call.allowed + call.observed > 0);
      if (is === 'denied' && wasLetIn) loses.push(changed);
      else if (is === 'allowed' && (was === 'denied' || call.denied > 0)) gains.push(changed);
      else if (is === 'depends') depends.push(changed);
    }
  }
  return { diff: diffIntentions(present, draft), loses, gains, depends, considered, missed };
}

function bySource(compile: ReturnType<typeof compileOutlook>): ReturnType<typeof compileOutlook> {
  const made = new Map<string, ReturnType<typeof compile>>();
  return (source) => {
    const outlooks = made.get(source) ?? compile(source);
    made.set(source, outlooks);
    return outlooks;
  };
}

function outlookOf(compiled: ReturnType<typeof compileOutlook> | undefined, call: UsedCall): Outlook {
  const path = call.template === '' ? undefined : call.example;
  return compiled?.(call.source)(call.method, path) ?? 'depends';
}

function jwtOf(all: readonly Intention[], destination: string): JwtRequirement | undefined {
  return all.find((one) => one.destination === destination)?.jwt;
}

function complete(draft: IntentionDraft, jwt: JwtRequirement | undefined): Intention {
  const record = { createdAtMs: 0, updatedAtMs: 0, createIndex: 0, modifyIndex: 0 };
  return completeIntention({ ...draft, ...(jwt === undefined ? {} : { jwt }) }, record);
}
