import type { HeaderMatch, Intention, Permission } from './intention.ts';
import { appliesTo, isGuard, wildcard } from './intention-precedence.ts';
import { foldPrefix, PathReadings } from './path-readings.ts';
import { canonicalRulePath, canonicalRulePrefix } from './path-rule.ts';
import { compilePermission } from './permission-rule.ts';

/** What is wrong with a rule that is understood and stored. */
export type LintProblem =
  /** No request can match it. */
  | 'never-matches'
  /** An earlier permission of the same intention decides on all that it names. */
  | 'shadowed'
  /** A deny that does not hold, because something else is consulted first. */
  | 'shadowed-deny'
  /** A guard denies what it allows. */
  | 'cut-by-guard'
  /** It can't have an effect where it stands. */
  | 'no-effect';

/** What of an intention is looked at. */
export type LintedIntention = Pick<Intention, 'source' | 'destination' | 'action' | 'permissions' | 'observe'>;

/** Something that the writer of a rule should know. Nothing of it is an error: what is stored holds as it is written. */
export interface LintFinding {
  readonly source: string;
  readonly destination: string;
  /** Its place in the list, from 1; absent where the whole intention is meant. */
  readonly permission?: number;
  readonly problem: LintProblem;
  /** One sentence for people. */
  readonly message: string;
}

/**
 * Looks for rules that do not do what they say. What it finds is so; what it can't be sure of (two patterns, two different header conditions) it leaves
 * alone. Rules are compared by what they say of a request in its plain spelling: that a deny also matches disguises of a path, which an allow before it
 * lets pass by, does not make it hold for the path itself.
 *
 * @param written the intentions to look at
 * @param all everything that is in force, `written` among it
 * @param keepsSlashes whether paths with encoded slashes come to a destination as they are
 */
export function lintIntentions(
  written: readonly LintedIntention[],
  all: readonly LintedIntention[],
  keepsSlashes: (destination: string) => boolean,
): LintFinding[] {
  return written.flatMap((intention) => [
    ...lintPermissions(intention, keepsSlashes(intention.destination)),
    ...hiddenDeny(intention, all),
    ...cutByGuards(intention, all),
  ]);
}

function lintPermissions(intention: LintedIntention, keepsSlashes: boolean): LintFinding[] {
  const { permissions = [] } = intention;
  const guard = isGuard(intention);
  return permissions.flatMap((permission, index): LintFinding[] => {
    const found = (problem: LintProblem, message: string) => [
      finding(intention, problem, `permission ${index + 1} (${textOf(permission)}) ${message}`, index + 1),
    ];
    const flaw = contradiction(permission, keepsSlashes);
    if (flaw !== undefined) return found('never-matches', `can never match: ${flaw}`);
    if (guard && permission.action === 'allow') {
      return found('no-effect', 'has no effect: the allows of a guard let nobody in');
    }
    const earlier = permissions
      .slice(0, index)
      .findIndex((one) => !(guard && one.action === 'allow') && covers(one, permission));
    const before = permissions[earlier];
    if (before === undefined) return [];
    const by = `permission ${earlier + 1} (${textOf(before)}) matches first whatever it names`;
    return permission.action === 'deny' && before.action === 'allow'
      ? found('shadowed-deny', `does not hold: ${by}`)
      : found('shadowed', `can never match: ${by}`);
  });
}

/** `web -> *` says deny, and `* -> db`, which is consulted before it, lets web in all the same. */
function hiddenDeny(intention: LintedIntention, all: readonly LintedIntention[]): LintFinding[] {
  const { source, destination, action } = intention;
  if (action !== 'deny' || destination !== wildcard || source === wildcard) return [];
  return all
    .filter((other) => other.source === wildcard && other.destination !== wildcard && letsIn(other))
    .filter((other) => !all.some((one) => one.source === source && one.destination === other.destination))
    .map((other) =>
      finding(
        intention,
        'shadowed-deny',
        `the deny does not hold at ${other.destination}: ${nameOf(other)} is consulted before it`,
      ),
    );
}

function cutByGuards(intention: LintedIntention, all: readonly LintedIntention[]): LintFinding[] {
  if (isGuard(intention)) return [];
  const { source, action, permissions = [] } = intention;
  const denies = all
    .filter(
      (guard) => isGuard(guard) && guard.observe !== true && (guard.source === source || guard.source === wildcard),
    )
    .flatMap((guard) =>
      (guard.permissions ?? []).flatMap((permission, index) =>
        permission.action === 'deny' ? [{ permission, name: `guard ${nameOf(guard)} permission ${index + 1}` }] : [],
      ),
    );
  if (action === 'allow') {
    const whole = denies.find(({ permission }) => coversEverything(permission));
    if (whole === undefined) return [];
    return [
      finding(
        intention,
        'cut-by-guard',
        `the allow lets nothing in: ${whole.name} (${textOf(whole.permission)}) denies all of it`,
      ),
    ];
  }
  return permissions.flatMap((permission, index): LintFinding[] => {
    if (permission.action !== 'allow') return [];
    const place = `permission ${index + 1} (${textOf(permission)})`;
    const whole = denies.find((deny) => covers(deny.permission, permission));
    if (whole !== undefined) {
      const message = `${place} lets nothing in: ${whole.name} (${textOf(whole.permission)}) denies all of it`;
      return [finding(intention, 'cut-by-guard', message, index + 1)];
    }
    const part = denies.find((deny) => liesWithin(deny.permission, permission));
    if (part === undefined) return [];
    const message = `${place} lets less in than it says: ${part.name} (${textOf(part.permission)}) denies a part of it`;
    return [finding(intention, 'cut-by-guard', message, index + 1)];
  });
}

/** Whether `first` matches every request, plainly spelled, that `second` matches. False where that is not certain. */
function covers(first: Permission, second: Permission): boolean {
  return (
    coversMethods(first, second) &&
    coversPath(first, second) &&
    coversHeaders(first, second) &&
    (first.jwt === undefined || JSON.stringify(first.jwt) === JSON.stringify(second.jwt))
  );
}

function coversMethods({ http: { methods: first = [] } }: Permission, { http: { methods: second = [] } }: Permission) {
  return first.length === 0 || (second.length > 0 && second.every((method) => first.includes(method)));
}

function coversPath(first: Permission, second: Permission): boolean {
  const { pathExact, pathPrefix, pathRegex } = first.http;
  if (pathExact === undefined && pathPrefix === undefined && pathRegex === undefined) return true;
  if (pathPrefix === '/') return true;
  const other = second.http;
  if (pathRegex !== undefined && pathRegex === other.pathRegex) return true;
  // Of an exact path the evaluator itself can be asked.
  if (other.pathExact !== undefined) return matchesPath(first, canonicalRulePath(other.pathExact));
  if (other.pathPrefix === undefined || pathPrefix === undefined) return false;
  return isUnder(other.pathPrefix, pathPrefix, first.action === 'deny');
}

/** @param folded as denies compare: without regard to case and the like */
function isUnder(path: string, prefix: string, folded: boolean): boolean {
  const [inner, outer] = [canonicalRulePrefix(path), canonicalRulePrefix(prefix)];
  return folded ? foldPrefix(inner).folded.startsWith(foldPrefix(outer).folded) : inner.startsWith(outer);
}

function matchesPath({ action, http: { headers, methods, ...path } }: Permission, canonical: string): boolean {
  const rule = compilePermission({ action, http: path });
  const facts = { method: 'GET', headerValues: () => [], headerLookalikes: () => [] };
  const readings = new PathReadings(canonical);
  return action === 'allow' ? rule.permits(facts, readings) : rule.forbids(facts, readings) !== undefined;
}

/** Every condition of `first` is one of `second`, or follows from one. */
function coversHeaders({ http: { headers: first = [] } }: Permission, { http: { headers: second = [] } }: Permission) {
  return first.every((wanted) =>
    second.some(
      (given) =>
        wanted.name.toLowerCase() === given.name.toLowerCase() &&
        (said(wanted) === said(given) || (wanted.present === true && wanted.invert !== true && given.invert !== true)),
    ),
  );
}

function coversEverything({ http, jwt }: Permission): boolean {
  const any =
    http.pathPrefix === '/' ||
    (http.pathExact === undefined && http.pathPrefix === undefined && http.pathRegex === undefined);
  return any && jwt === undefined && (http.methods ?? []).length === 0 && (http.headers ?? []).length === 0;
}

/** Whether a deny names a part of the paths that an allow names by path. Only such an overlap surprises: an allow of everything is meant to have exceptions. */
function liesWithin(deny: Permission, allow: Permission): boolean {
  const { pathPrefix } = allow.http;
  if (pathPrefix === undefined || pathPrefix === '/') return false;
  const { pathExact, pathPrefix: inner } = deny.http;
  const path = pathExact ?? inner;
  if (path === undefined || !isUnder(path, pathPrefix, false)) return false;
  const [a, b] = [deny.http.methods ?? [], allow.http.methods ?? []];
  return a.length === 0 || b.length === 0 || a.some((method) => b.includes(method));
}

/** Why no request can meet all conditions of a permission. */
function contradiction({ action, http: { headers = [], pathRegex } }: Permission, keepsSlashes: boolean) {
  const absent = headers.filter(({ present, invert }) => present === true && invert === true);
  const clash = absent.find(({ name }) =>
    headers.some((other) => other.name.toLowerCase() === name.toLowerCase() && needsOne(other)),
  );
  if (clash !== undefined) return `header ${clash.name} would have to be there and not`;
  return pathRegex === undefined ? undefined : regexFlaw(pathRegex, action === 'deny' && keepsSlashes);
}

function needsOne({ invert }: HeaderMatch): boolean {
  return invert !== true;
}

/**
 * A pattern is matched against the whole canonical path: it begins with a slash, has no query and no two slashes in a row. Alternatives are left alone.
 *
 * @param mayDouble it is a deny, and of a path with encoded slashes it sees the reading that has them decoded
 */
function regexFlaw(pattern: string, mayDouble: boolean): string | undefined {
  if (pattern.includes('|')) return undefined;
  if (/^\^?[A-Za-z0-9_-](?![?*{])/.test(pattern)) return 'the pattern has to match the whole path, which begins with /';
  if (!mayDouble && /^[^[(\\]*\/\/(?![?*{])/.test(pattern)) return 'a path has no two slashes in a row';
  if (/^[^[(\\]*\\\?(?![?*{])/.test(pattern)) return 'rules look at the path without the query';
  return undefined;
}

function letsIn({ action, permissions, observe }: LintedIntention): boolean {
  return (
    action === 'allow' || observe === true || (permissions ?? []).some((permission) => permission.action === 'allow')
  );
}

/** A condition in one spelling. */
function said({ name, ...rest }: HeaderMatch): string {
  return JSON.stringify([name.toLowerCase(), ...Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

function finding(
  { source, destination }: LintedIntention,
  problem: LintProblem,
  message: string,
  permission?: number,
): LintFinding {
  return {
    source,
    destination,
    ...(permission === undefined ? {} : { permission }),
    problem,
    message: `${source} -> ${destination}: ${message}`,
  };
}

function textOf(permission: Permission): string {
  return compilePermission(permission).text;
}

function nameOf({ source, destination }: LintedIntention): string {
  return `${source} -> ${destination}`;
}

/** The intentions whose allows a guard may cut: its writer should hear of them as well. */
export function guardedBy<Some extends LintedIntention>(guard: LintedIntention, all: readonly Some[]): Some[] {
  if (!isGuard(guard)) return [];
  return all.filter((other) => !isGuard(other) && appliesTo(guard, other.source, other.destination));
}
