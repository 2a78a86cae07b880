import type { Intention, IntentionAction, ServiceProtocol } from './intention.ts';
import { appliesTo, compareIntentions, consultedIntention, isGuard } from './intention-precedence.ts';
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
}

/** What rules may look at. */
export interface RequestFacts {
  /** As sent; methods are case-sensitive. */
  readonly method: string;
  /** Canonical (canonical-request.ts), without query. */
  readonly path: string;
  /** The value of each line of that name, in order; [] where there is none. */
  headerValues(lowerCaseName: string): readonly string[];
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
}

/** Sources whose compiled policy is kept. */
const maxCachedSources = 1_024;

/**
 * The one evaluator (invariant 3): proxy, `check`, `authorize`, command line and console all ask it.
 *
 * 1. Guards (permissions on destination `*`) that apply to the source: any deny that matches decides.
 * 2. The one intention of highest precedence that applies: its action, or its permissions in order, the first that matches.
 * 3. Where none matches, the default action; never the next intention (Consul).
 *
 * Permissions at a destination whose protocol is tcp deny everything, as nothing can be matched. So does anything that is not understood, and any error.
 * Never throws.
 */
export function compileIntentions(input: IntentionInput): CompiledIntentions {
  const ordered = input.intentions.toSorted(compareIntentions);
  const policies = new Map<string, SourcePolicy>();
  const stranger = settled({
    allowed: false,
    rule: 'identity (deny)',
    reason: "The caller's identity is not a service of this trust domain.",
    revision: input.revision,
  });
  return {
    revision: input.revision,
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
    return compilePolicy(input, source, consulted, denies);
  } catch (error) {
    return settled(failure(`${source} -> ${destination}`, error, revision));
  }
}

function compilePolicy(
  input: IntentionInput,
  source: string,
  consulted: Intention | undefined,
  guards: readonly Rule[],
): SourcePolicy {
  const { destination, defaultAction, protocol, revision } = input;
  const settle = (allowed: boolean, rule: string, reason: string) => settled({ allowed, rule, reason, revision });
  const otherwise: Verdict = {
    allowed: defaultAction === 'allow',
    rule: `default (${defaultAction})`,
    reason: `No ${consulted === undefined ? 'intention' : 'permission of the intention'} matches ${source} -> ${destination}; the default is ${defaultAction}.`,
    revision,
  };
  if (protocol === 'tcp') {
    const [guard] = guards;
    const rule = guard?.name ?? (consulted?.permissions === undefined ? undefined : nameOf(consulted));
    if (rule !== undefined) {
      return settle(
        false,
        `${rule} (deny)`,
        `It has HTTP permissions, and ${destination} is of protocol tcp: set Protocol http in its service-defaults.`,
      );
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
  return perRequest(guards, [], said, revision);
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
    return {
      name,
      permission: compiled,
      allows: { allowed: true, rule: `${name} (allow)`, reason, revision },
      denies: { allowed: false, rule: `${name} (deny)`, reason, revision },
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
  return otherwise;
}

function denied(rule: Rule, readings: PathReadings, name: ReadingName): Verdict {
  const reading = readings.named(name);
  const shown = reading.length > 256 ? `${reading.slice(0, 256)}…` : reading;
  return { ...rule.denies, reading: `${name}: ${shown}` };
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
