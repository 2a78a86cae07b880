import type { HeaderSource } from './header-rule.ts';
import type { Intention, IntentionAction, ServiceProtocol } from './intention.ts';
import { inForce } from './intention-expiry.ts';
import { appliesTo, compareIntentions, consultedIntention, isGuard } from './intention-precedence.ts';
import { compileJwtRule, type TokenSource } from './jwt-rule.ts';
import { PathReadings, type ReadingName } from './path-readings.ts';
import { compilePermission, type PermissionRule } from './permission-rule.ts';

/** What a rule made of a connection or request. */
export interface Verdict {
  readonly allowed: boolean;
  /** The rule that decided: `web -> db permission 2 (deny)`. */
  readonly rule: string;
  /** One sentence for whoever was refused. */
  readonly reason: string;
  /** Which reading of the path a deny matched, and that reading: `folded: /admin`. */
  readonly reading?: string;
  /** Revision of the intentions that were consulted. */
  readonly revision: number;
  /** Allowed only because an intention is in observe mode: what it would have denied. */
  readonly observed?: ObservedDenial;
}

/** A denial that was not enforced. */
export type ObservedDenial = Pick<Verdict, 'rule' | 'reason' | 'reading'>;

/** What rules may look at. */
export interface RequestFacts extends HeaderSource, TokenSource {
  /** As sent; methods are case-sensitive. */
  readonly method: string;
  /** Canonical (canonical-request.ts), without query. */
  readonly path: string;
}

/** What one source may do at one destination. */
export interface SourcePolicy {
  /** The verdict on the connection, where requests cannot change it. */
  readonly connection: Verdict | 'per-request';
  /** The verdict on one request. Never throws: an error is a deny. */
  request(facts: RequestFacts): Verdict;
}

/** The intentions of one destination, ready to be asked. */
export interface CompiledIntentions {
  readonly revision: number;
  /** When the next of the intentions ends, ms since the epoch: then compile anew. Undefined: none does. */
  readonly untilMs: number | undefined;
  /** @param service name of the calling service; undefined for an identity that is no service of this trust domain: always deny */
  forSource(service: string | undefined): SourcePolicy;
}

/** Everything that decides who may call one destination. */
export interface IntentionInput {
  readonly destination: string;
  readonly protocol: ServiceProtocol;
  readonly defaultAction: IntentionAction;
  /** In any order; those of other destinations are passed over. */
  readonly intentions: readonly Intention[];
  readonly revision: number;
  /** The time that it is, ms since the epoch: what has expired counts no more. */
  readonly nowMs: number;
}

/** Sources whose compiled policy is kept. */
const maxCachedSources = 1_024;

/**
 * The one evaluator (invariant 3): proxy, `check`, `authorize`, command line and console all ask it.
 *
 * 0. What has expired is not there.
 * 1. Guards (permissions on destination `*`) that apply to the source: any deny that matches decides.
 * 2. The one intention of highest precedence that applies: its action, or its permissions in order, the first that matches.
 * 3. Where none matches, the default action; never the next intention (Consul).
 *
 * What an intention in observe mode would deny, by a rule of its own or because none of them matches, is allowed and told in the verdict. As such an
 * intention denies nothing, a guard in observe mode decides nothing, and whatever else denies still does.
 *
 * A token that the destination asks for (JWT) is needed besides, whatever lets the request in: identity and token, never one for the other (CVE-2023-3518).
 *
 * Permissions at a destination whose protocol is tcp deny everything, as nothing can be matched. So does anything that is not understood, and any error.
 * Never throws.
 */
export function compileIntentions(input: IntentionInput): CompiledIntentions {
  const { intentions, untilMs } = inForce(input.intentions, input.nowMs);
  const ordered = intentions.toSorted(compareIntentions);
  const policies = new Map<string, SourcePolicy>();
  const stranger = settled({
    allowed: false,
    rule: 'identity (deny)',
    reason: "The caller's identity is not a service of this trust domain.",
    revision: input.revision,
  });
  return {
    revision: input.revision,
    untilMs,
    forSource(service) {
      if (service === undefined) return stranger;
      const cached = policies.get(service);
      if (cached !== undefined) return cached;
      const policy = compileSource(input, ordered, service);
      if (policies.size >= maxCachedSources) policies.delete(policies.keys().next().value ?? '');
      policies.set(service, policy);
      return policy;
    },
  };
}

function compileSource(input: IntentionInput, ordered: readonly Intention[], source: string): SourcePolicy {
  const { destination, revision } = input;
  try {
    const consulted = consultedIntention(ordered, source, destination);
    const denies = ordered
      .filter((intention) => isGuard(intention) && appliesTo(intention, source, destination))
      .flatMap((guard) => compileRules(guard, revision).filter((rule) => rule.permission.action === 'deny'));
    const enforced = denies.filter((rule) => rule.denies.observed === undefined);
    const policy = asking(compilePolicy(input, source, consulted, enforced), input, source, consulted);
    const watching = denies.filter((rule) => rule.denies.observed !== undefined);
    return watching.length === 0 ? policy : observing(policy, watching, input);
  } catch (error) {
    return settled(failure(`${source} -> ${destination}`, error, revision));
  }
}

/** A token that is asked for by the destination, of every request to it; by what lets in to all destinations, of what that lets in. */
function asking(
  policy: SourcePolicy,
  input: IntentionInput,
  source: string,
  consulted: Intention | undefined,
): SourcePolicy {
  const { destination, revision, protocol } = input;
  const own = input.intentions.find((one) => one.destination === destination && one.jwt !== undefined);
  const asked = [own, consulted?.destination === destination ? undefined : consulted].flatMap((one) =>
    one?.jwt === undefined ? [] : [{ name: `${one.destination} JWT`, rule: compileJwtRule(one.jwt) }],
  );
  const [first] = asked;
  if (first === undefined || (policy.connection !== 'per-request' && !policy.connection.allowed)) return policy;
  const refused = (name: string, reason: string): Verdict => {
    const verdict = { allowed: false, rule: `${name} (deny)`, reason, revision };
    return consulted?.observe === true ? observed(consulted, verdict) : verdict;
  };
  if (protocol === 'tcp') {
    return settled(
      refused(
        first.name,
        `It asks for a token, and ${destination} is of protocol tcp: set Protocol http in its service-defaults.`,
      ),
    );
  }
  return {
    connection: 'per-request',
    request(facts) {
      const verdict = policy.request(facts);
      if (!verdict.allowed) return verdict;
      try {
        for (const { name, rule } of asked) {
          const standing = rule(facts);
          if (standing.kind !== 'met')
            return refused(name, `${source} -> ${destination} needs a token: ${standing.flaw}.`);
        }
        return verdict;
      } catch (error) {
        return failure(first.name, error, revision);
      }
    },
  };
}

function compilePolicy(
  input: IntentionInput,
  source: string,
  consulted: Intention | undefined,
  guards: readonly Rule[],
): SourcePolicy {
  const { destination, defaultAction, protocol, revision } = input;
  const settle = (allowed: boolean, rule: string, reason: string) => settled({ allowed, rule, reason, revision });
  const byDefault: Verdict = {
    allowed: defaultAction === 'allow',
    rule: `default (${defaultAction})`,
    reason: `No ${consulted === undefined ? 'intention' : 'permission of the intention'} matches ${source} -> ${destination}; the default is ${defaultAction}.`,
    revision,
  };
  const otherwise = consulted?.observe === true ? observed(consulted, byDefault) : byDefault;
  if (protocol === 'tcp') {
    const [guard] = guards;
    const rule = guard?.name ?? (consulted?.permissions === undefined ? undefined : nameOf(consulted));
    if (rule !== undefined) {
      const verdict: Verdict = {
        allowed: false,
        rule: `${rule} (deny)`,
        reason: tcpReason(destination),
        revision,
      };
      return settled(guard === undefined && consulted?.observe === true ? observed(consulted, verdict) : verdict);
    }
  }
  if (consulted === undefined) return perRequest(guards, [], otherwise, revision);
  const name = nameOf(consulted);
  const { action, permissions } = consulted;
  if (permissions !== undefined && permissions.length > 0 && action === undefined) {
    return perRequest(guards, compileRules(consulted, revision), otherwise, revision);
  }
  if (permissions !== undefined || (action !== 'allow' && action !== 'deny')) {
    return settle(false, `${name} (deny)`, `The intention ${name} has not exactly one of an action and permissions.`);
  }
  const said: Verdict = {
    allowed: action === 'allow',
    rule: `${name} (${action})`,
    reason: `The intention ${name} says ${action}.`,
    revision,
  };
  return perRequest(guards, [], consulted.observe === true ? observed(consulted, said) : said, revision);
}

/** One permission in its place, with the verdicts that need nothing of the request made ahead. */
interface Rule {
  readonly name: string;
  readonly permission: PermissionRule;
  readonly allows: Verdict;
  readonly denies: Verdict;
}

function compileRules(intention: Intention, revision: number): readonly Rule[] {
  const guard = isGuard(intention) ? 'guard ' : '';
  return (intention.permissions ?? []).map((permission, index) => {
    const name = `${guard}${nameOf(intention)} permission ${index + 1}`;
    const compiled = compilePermission(permission);
    const reason =
      compiled.flaw === undefined
        ? `Matched permission ${index + 1} of ${guard}${nameOf(intention)}: ${compiled.text}.`
        : `Permission ${index + 1} of ${guard}${nameOf(intention)} is not understood, so it denies: ${compiled.flaw}.`;
    const denies: Verdict = { allowed: false, rule: `${name} (deny)`, reason, revision };
    return {
      name,
      permission: compiled,
      allows: { allowed: true, rule: `${name} (allow)`, reason, revision },
      // What is not understood is denied, whatever the mode.
      denies: intention.observe === true && compiled.flaw === undefined ? observed(intention, denies) : denies,
    };
  });
}

/** @param otherwise what holds when no rule matches; it is the verdict on the connection where there is no rule that could change it */
function perRequest(
  guards: readonly Rule[],
  permissions: readonly Rule[],
  otherwise: Verdict,
  revision: number,
): SourcePolicy {
  // Guards only deny: they cannot change a deny.
  if (permissions.length === 0 && (guards.length === 0 || !otherwise.allowed)) return settled(otherwise);
  return {
    connection: 'per-request',
    request(facts) {
      try {
        return decide(guards, permissions, otherwise, facts);
      } catch (error) {
        return failure('evaluation', error, revision);
      }
    },
  };
}

function decide(
  guards: readonly Rule[],
  permissions: readonly Rule[],
  otherwise: Verdict,
  facts: RequestFacts,
): Verdict {
  const readings = new PathReadings(facts.path);
  for (const guard of guards) {
    const reading = guard.permission.forbids(facts, readings);
    if (reading !== undefined) return denied(guard, readings, reading);
  }
  for (const rule of permissions) {
    if (rule.permission.action === 'deny') {
      const reading = rule.permission.forbids(facts, readings);
      if (reading !== undefined) return denied(rule, readings, reading);
    } else if (rule.permission.permits(facts, readings)) {
      return rule.allows;
    }
  }
  return withTokenFlaw(permissions, otherwise, facts, readings);
}

/** What nothing let in may have lacked a token only: then that is what its caller has to know. */
function withTokenFlaw(
  permissions: readonly Rule[],
  otherwise: Verdict,
  facts: RequestFacts,
  readings: PathReadings,
): Verdict {
  if (otherwise.allowed && otherwise.observed === undefined) return otherwise;
  for (const { name, permission } of permissions) {
    const flaw = permission.action === 'allow' ? permission.misses(facts, readings) : undefined;
    if (flaw === undefined) continue;
    const told = ` ${name} needs a token: ${flaw}.`;
    if (otherwise.observed === undefined) return { ...otherwise, reason: otherwise.reason + told };
    return { ...otherwise, observed: { ...otherwise.observed, reason: otherwise.observed.reason + told } };
  }
  return otherwise;
}

function denied(rule: Rule, readings: PathReadings, name: ReadingName): Verdict {
  const reading = readings.named(name);
  const shown = reading.length > 256 ? `${reading.slice(0, 256)}…` : reading;
  const text = `${name}: ${shown}`;
  if (rule.denies.observed === undefined) return { ...rule.denies, reading: text };
  return { ...rule.denies, observed: { ...rule.denies.observed, reading: text } };
}

/** What becomes of a verdict of an intention in observe mode: a deny is let through, and told. */
function observed(intention: Intention, verdict: Verdict): Verdict {
  if (verdict.allowed) return verdict;
  const { rule, reason, revision } = verdict;
  const name = nameOf(intention);
  return {
    allowed: true,
    rule: `${name} (observe)`,
    reason: `${name} is in observe mode; enforced, it would deny: ${reason}`,
    revision,
    observed: { rule, reason },
  };
}

/** A policy watched by guards in observe mode: they change no verdict, but tell what of the allowed they would deny. */
function observing(policy: SourcePolicy, guards: readonly Rule[], input: IntentionInput): SourcePolicy {
  const [first] = guards;
  if (input.protocol === 'tcp') {
    const { connection } = policy;
    if (connection === 'per-request' || !connection.allowed || connection.observed !== undefined) return policy;
    const rule = `${first?.name ?? 'guard'} (deny)`;
    return settled({ ...connection, observed: { rule, reason: tcpReason(input.destination) } });
  }
  if (policy.connection !== 'per-request' && !policy.connection.allowed) return policy;
  return {
    connection: 'per-request',
    request(facts) {
      const verdict = policy.request(facts);
      if (!verdict.allowed || verdict.observed !== undefined) return verdict;
      try {
        const readings = new PathReadings(facts.path);
        for (const guard of guards) {
          const reading = guard.permission.forbids(facts, readings);
          const told = reading === undefined ? undefined : denied(guard, readings, reading).observed;
          if (told !== undefined) return { ...verdict, observed: told };
        }
        return verdict;
      } catch (error) {
        return failure('evaluation', error, verdict.revision);
      }
    },
  };
}

function tcpReason(destination: string): string {
  return `It has HTTP permissions, and ${destination} is of protocol tcp: set Protocol http in its service-defaults.`;
}

function settled(verdict: Verdict): SourcePolicy {
  return { connection: verdict, request: () => verdict };
}

function failure(rule: string, error: unknown, revision: number): Verdict {
  const cause = error instanceof Error ? error.message : 'unknown';
  return {
    allowed: false,
    rule: `${rule} (deny)`,
    reason: `The rules could not be evaluated, so the answer is no: ${cause}.`,
    revision,
  };
}

function nameOf(intention: Intention): string {
  return `${intention.source} -> ${intention.destination}`;
}
