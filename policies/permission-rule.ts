import { compileHeaderRule, type HeaderSource } from './header-rule.ts';
import type { HttpMatch, IntentionAction, JwtRequirement, Permission } from './intention.ts';
import { compileJwtRule, type TokenSource } from './jwt-rule.ts';
import type { PathReadings, ReadingName } from './path-readings.ts';
import { compilePathRule } from './path-rule.ts';

/** What a permission looks at, the path aside. */
export interface RuleFacts extends HeaderSource, TokenSource {
  /** As sent. */
  readonly method: string;
}

/** One L7 rule, compiled. */
export interface PermissionRule {
  readonly action: IntentionAction;
  /** The rule in one line: `deny GET PathPrefix "/admin"`. */
  readonly text: string;
  /** Set when the rule could not be understood: it then denies whatever reaches it. */
  readonly flaw?: string;
  /** For an allow: whether the request matches in every reading. */
  permits(request: RuleFacts, readings: PathReadings): boolean;
  /** For a deny: the reading in which the request matches. */
  forbids(request: RuleFacts, readings: PathReadings): ReadingName | undefined;
  /** For an allow that permits all of a request but its token: what is wrong with that. */
  misses(request: RuleFacts, readings: PathReadings): string | undefined;
}

const knownOfPermission: ReadonlySet<string> = new Set(['action', 'http', 'jwt']);
const knownOfHttp: ReadonlySet<string> = new Set(['pathExact', 'pathPrefix', 'pathRegex', 'headers', 'methods']);

/** Compiles a permission; never throws. What it does not know, it denies (Istio's CVE-2022-21679: an unknown matcher matched everything). */
export function compilePermission(permission: Permission): PermissionRule {
  try {
    return compileKnown(permission);
  } catch (error) {
    const flaw = error instanceof Error ? error.message : 'it is malformed';
    const nothing = { permits: () => false, forbids: () => 'canonical' as const, misses: () => undefined };
    return { action: 'deny', text: 'not understood', flaw, ...nothing };
  }
}

function compileKnown(permission: Permission): PermissionRule {
  const { action, http, jwt } = permission;
  refuseUnknown(permission, knownOfPermission);
  refuseUnknown(http, knownOfHttp);
  if (action !== 'allow' && action !== 'deny') throw new SyntaxError('its action is neither allow nor deny');
  const path = compilePathRule(http);
  const headers = (http.headers ?? []).map(compileHeaderRule);
  const methods = http.methods ?? [];
  if (path === undefined && headers.length === 0 && methods.length === 0) throw new SyntaxError('it has no condition');
  const token = jwt === undefined ? undefined : compileJwtRule(jwt);
  const anyMethod = methods.length === 0;
  const permitsHttp = (request: RuleFacts, readings: PathReadings): boolean => {
    if (!anyMethod && !methods.includes(request.method)) return false;
    if (path !== undefined && !path.permits(readings)) return false;
    for (const header of headers) if (!header.permits(request)) return false;
    return true;
  };
  return {
    action,
    text: describe(action, http, jwt),
    permits(request, readings) {
      return permitsHttp(request, readings) && (token === undefined || token(request).kind === 'met');
    },
    misses(request, readings) {
      if (token === undefined || !permitsHttp(request, readings)) return undefined;
      const standing = token(request);
      return standing.kind === 'met' ? undefined : standing.flaw;
    },
    forbids(request, readings) {
      if (!anyMethod && !methods.includes(request.method) && !methods.includes(request.method.toUpperCase()))
        return undefined;
      const reading = path === undefined ? 'canonical' : path.forbids(readings);
      if (reading === undefined) return undefined;
      for (const header of headers) if (!header.forbids(request)) return undefined;
      // Who leaves the token at home is not better off than who shows it.
      return token === undefined || token(request).kind !== 'unmet' ? reading : undefined;
    },
  };
}

function refuseUnknown(value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!known.has(key)) throw new SyntaxError(`unknown field ${key}`);
}

/** For people: verdicts, `check`, the console. Cut at 200 characters. */
function describe(action: IntentionAction, http: HttpMatch, jwt: JwtRequirement | undefined): string {
  const words: string[] = [action];
  if (http.methods !== undefined && http.methods.length > 0) words.push(http.methods.join(','));
  for (const [name, value] of [
    ['PathExact', http.pathExact],
    ['PathPrefix', http.pathPrefix],
    ['PathRegex', http.pathRegex],
  ] as const) {
    if (value !== undefined) words.push(`${name} ${JSON.stringify(value)}`);
  }
  for (const { name, invert, ignoreCase, ...matcher } of http.headers ?? []) {
    const [kind = '', value = ''] = Object.entries(matcher)[0] ?? [];
    const shown = value === true ? 'is present' : `${kind} ${JSON.stringify(value)}`;
    words.push(`header ${name} ${invert === true ? 'not ' : ''}${shown}${ignoreCase === true ? ' ignoring case' : ''}`);
  }
  if (jwt !== undefined) words.push(describeJwt(jwt));
  const text = words.join(' ');
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}

/** A requirement in words: `token of okta with role "admin"`. */
export function describeJwt({ providers }: JwtRequirement): string {
  const each = providers.map(({ name, verifyClaims = [] }) => {
    const claims = verifyClaims.map(({ path, value }) => `${path.join('.')} ${JSON.stringify(value)}`);
    return claims.length === 0 ? name : `${name} with ${claims.join(' and ')}`;
  });
  return `token of ${each.join(' or ')}`;
}
