import type { Intention, Permission } from './intention.ts';
import { compileIntentions, type IntentionInput, type SourcePolicy } from './intention-decision.ts';
import { inForce } from './intention-expiry.ts';
import { appliesTo, compareIntentions, consultedIntention, isGuard } from './intention-precedence.ts';

/** What is decided on a request of which only method and path are known; `depends`: on its headers, or on a token. */
export type Outlook = 'allowed' | 'denied' | 'depends';

/** Asks for one source. @param path canonical; undefined: a connection that no request is read of */
export type Outlooks = (method: string, path: string | undefined) => Outlook;

/** Conditions on headers and tokens that are told apart; beyond them everything depends. */
const maxConditions = 16;
/** Of a request without headers, this never holds, for an allow as for a deny. */
const never: Permission['http'] = { headers: [{ name: 'x-never', present: true }] };

/**
 * What the one evaluator would say of requests whose headers are not known. Rules are tried in order, so what can come out is what comes out when the first
 * condition on headers or tokens that holds is this one or that one, or when none holds: each of these policies is compiled, with that rule made
 * unconditional and those that do not hold made idle, and asked. Where all agree, that is the answer.
 */
export function compileOutlook(input: IntentionInput): (source: string) => Outlooks {
  const { intentions } = inForce(input.intentions, input.nowMs);
  const ordered = intentions.toSorted(compareIntentions);
  return (source) => {
    const consulted = consultedIntention(ordered, source, input.destination);
    const deciding = [
      ...ordered.filter((one) => isGuard(one) && appliesTo(one, source, input.destination)),
      ...(consulted === undefined ? [] : [consulted]),
    ];
    const conditions = deciding.flatMap((intention) =>
      (intention.permissions ?? []).filter(
        (permission) => isConditional(permission) && mayDecide(intention, permission),
      ),
    );
    if (conditions.length > maxConditions) return () => 'depends';
    const holding: (Permission | undefined)[] = [undefined, ...conditions];
    const policies = holding.map((holds) =>
      compileIntentions({ ...input, intentions: deciding.map((one) => supposing(one, holds)) }).forSource(source),
    );
    // Of a destination that asks for a token, what is let in depends on it.
    const asksForToken =
      consulted?.jwt !== undefined ||
      intentions.some(({ destination, jwt }) => destination === input.destination && jwt !== undefined);
    return (method, path) => {
      const [first, ...others] = policies.map((policy) => allows(policy, method, path));
      if (others.some((one) => one !== first) || first === undefined) return 'depends';
      if (!first) return 'denied';
      return asksForToken ? 'depends' : 'allowed';
    };
  };
}

function isConditional({ http, jwt }: Permission): boolean {
  return jwt !== undefined || (http.headers ?? []).length > 0;
}

/** The allows of guards decide nothing. */
function mayDecide(intention: Intention, { action }: Permission): boolean {
  return !isGuard(intention) || action === 'deny';
}

/** The intention where of all conditions on headers and tokens just one holds. */
function supposing({ jwt, ...intention }: Intention, holds: Permission | undefined): Intention {
  if (intention.permissions === undefined) return intention;
  return {
    ...intention,
    permissions: intention.permissions.map((permission) => {
      if (!isConditional(permission)) return permission;
      const { action, http } = permission;
      const { headers, ...rest } = http;
      if (permission !== holds) return { action, http: never };
      return { action, http: Object.keys(rest).length === 0 ? { pathPrefix: '/' } : rest };
    }),
  };
}

function allows(policy: SourcePolicy, method: string, path: string | undefined): boolean | undefined {
  if (path !== undefined)
    return policy.request({ method, path, headerValues: () => [], headerLookalikes: () => [] }).allowed;
  return policy.connection === 'per-request' ? undefined : policy.connection.allowed;
}
