import { compileHeaderRule, type HeaderSource } from './header-rule.ts';
import type { HttpMatch, IntentionAction, Permission } from './intention.ts';
import type { PathReadings, ReadingName } from './path-readings.ts';
import { compilePathRule } from './path-rule.ts';

/** What a permission looks at, the path aside. */
export interface RuleFacts extends HeaderSource {
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
}

const knownOfPermission: ReadonlySet<string> = new Set(['action', 'http']);
const knownOfHttp: ReadonlySet<string> = new Set(['pathExact', 'pathPrefix', 'pathRegex', 'headers', 'methods']);

/** Compiles a permission; never throws. What it does not know, it denies (Istio's CVE-2022-21679: an unknown matcher matched everything). */
export function compilePermission(permission: Permission): PermissionRule {
  try {
    return compileKnown(permission);
  } catch (error) {
    const flaw = error instanceof Error ? error.message : 'it is malformed';
    return { action: 'deny', text: 'not understood', flaw, permits: () => false, forbids: () => 'canonical' };
  }
}

function compileKnown(permission: Permission): PermissionRule {
  const { action, http } = permission;
  refuseUnknown(permission, knownOfPermission);
  refuseUnknown(http, knownOfHttp);
  if (action !== 'allow' && action !== 'deny') throw new SyntaxError('its action is neither allow nor deny');
  const path = compilePathRule(http);
  const headers = (http.headers ?? []).map(compileHeaderRule);
  const methods = http.methods ?? [];
  if (path === undefined && headers.length === 0 && methods.length === 0) throw new SyntaxError('it has no condition');
  const anyMethod = methods.length === 0;
  return {
    action,
    text: describe(action, http),
    permits(request, readings) {
      if (!anyMethod && !methods.includes(request.method)) return false;
      if (path !== undefined && !path.permits(readings)) return false;
      for (const header of headers) if (!header.permits(request)) return false;
      return true;
    },
    forbids(request, readings) {
      if (!anyMethod && !methods.includes(request.method) && !methods.includes(request.method.toUpperCase()))
        return undefined;
      const reading = path === undefined ? 'canonical' : path.forbids(readings);
      if (reading === undefined) return undefined;
      for (const header of headers) if (!header.forbids(request)) return undefined;
      return reading;
    },
  };
}

function refuseUnknown(value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!known.has(key)) throw new SyntaxError(`unknown field ${key}`);
}

/** For people: verdicts, `check`, the console. Cut at 200 characters. */
function describe(action: IntentionAction, http: HttpMatch): string {
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
  const text = words.join(' ');
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}
