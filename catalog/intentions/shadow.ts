import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Intention, IntentionAction } from '#policies/intention.ts';
import { inForce } from '#policies/intention-expiry.ts';
import { compareIntentions, consultedIntention, wildcard } from '#policies/intention-precedence.ts';

/** What of an intention its effect depends on. */
export type Rules = Pick<
  Intention,
  'source' | 'destination' | 'action' | 'permissions' | 'precedence' | 'observe' | 'jwt'
>;

/**
 * Under default allow, permissions let through whatever none of them matches. Written over a wider deny they would so open what was shut, even when
 * all of them say deny: only one intention is consulted. Such a write is refused unless forced. An L4 allow says openly what it opens, and a guard never
 * widens, so both pass. Under default deny nothing that falls through gets through.
 *
 * @throws MeshError SLV-3005 naming the intention that would be hidden
 */
export function refuseShadowing(written: Rules, others: readonly Rules[], defaultAction: IntentionAction): void {
  if (defaultAction === 'deny' || written.permissions === undefined || written.destination === wildcard) return;
  const hidden = others
    .toSorted((a, b) => b.precedence - a.precedence)
    .find((other) => other.precedence < written.precedence && overlaps(written, other) && deniesSomething(other));
  if (hidden === undefined) return;
  const name = `${written.source} -> ${written.destination}`;
  throw new MeshError(
    'SLV-3005',
    `What no permission of ${name} matches would be allowed by default, where ${hidden.source} -> ${hidden.destination} denies it now.`,
    { detail: { intention: name, hidden: `${hidden.source} -> ${hidden.destination}` } },
  );
}

/**
 * An intention in observe mode denies nothing. Written where something is denied now it would open it, which nobody expects of a deny; so it is refused
 * unless forced, but for guards, which never let anybody in.
 *
 * @param before all intentions as they are
 * @throws MeshError SLV-3005 naming what denies now
 */
export function refuseOpening(
  written: Rules,
  before: readonly Intention[],
  { defaultAction, nowMs }: { readonly defaultAction: IntentionAction; readonly nowMs: number },
): void {
  if (written.observe !== true || (written.destination === wildcard && written.permissions !== undefined)) return;
  const ordered = inForce(before, nowMs).intentions.toSorted(compareIntentions);
  const deciding = consultedIntention(ordered, written.source, written.destination);
  if (deciding === undefined ? defaultAction === 'allow' : deciding.action === 'allow' || deciding.observe === true)
    return;
  const name = `${written.source} -> ${written.destination}`;
  const denies = deciding === undefined ? 'the default' : `${deciding.source} -> ${deciding.destination}`;
  throw new MeshError(
    'SLV-3005',
    `In observe mode ${name} would deny nothing, and so let through what ${denies} denies now.`,
    { detail: { intention: name, hidden: denies } },
  );
}

/**
 * An allow to `*` lets its source into every service that has no intention of its own for it, also into those that come later.
 * @throws MeshError SLV-3011
 */
export function refuseEverywhere({
  source,
  destination,
  action,
}: Pick<Rules, 'source' | 'destination' | 'action'>): void {
  if (destination !== wildcard || action !== 'allow') return;
  const who = source === wildcard ? 'every service' : source;
  throw new MeshError(
    'SLV-3011',
    `${source} -> * (allow) would let ${who} call each service, of today and of later, that has no more specific intention.`,
  );
}

function overlaps(a: Rules, b: Rules): boolean {
  const meet = (x: string, y: string): boolean => x === y || x === wildcard || y === wildcard;
  return meet(a.source, b.source) && meet(a.destination, b.destination);
}

/** A guard does not count: it goes on denying, whatever stands over it. */
function deniesSomething({ destination, action, permissions }: Rules): boolean {
  if (destination === wildcard && permissions !== undefined) return false;
  return action === 'deny' || (permissions?.some((permission) => permission.action === 'deny') ?? false);
}
