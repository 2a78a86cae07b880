import { canonicaliseTarget } from './canonical-request.ts';
import type { HttpMatch } from './intention.ts';
import { foldExact, foldPrefix, type PathReadings, type ReadingName } from './path-readings.ts';
import { compileRegularExpression } from './regular-expression.ts';

/** The path condition of one permission. */
export interface PathRule {
  /** For an allow: whether every reading matches. */
  permits(readings: PathReadings): boolean;
  /** For a deny: the first reading that matches. */
  forbids(readings: PathReadings): ReadingName | undefined;
}

/**
 * Compiles the path condition; undefined when there is none.
 * @throws SyntaxError when the condition can never match a canonical path, or is no pattern
 */
export function compilePathRule(http: HttpMatch): PathRule | undefined {
  const given = [http.pathExact, http.pathPrefix, http.pathRegex].filter((value) => value !== undefined);
  if (given.length > 1) throw new SyntaxError('more than one of PathExact, PathPrefix and PathRegex');
  if (http.pathExact !== undefined) return exactRule(canonicalRulePath(http.pathExact));
  if (http.pathPrefix !== undefined) return prefixRule(canonicalRulePrefix(http.pathPrefix));
  return http.pathRegex === undefined ? undefined : regexRule(http.pathRegex);
}

/**
 * The canonical form of a rule's path. Encoded slashes stay: some services take them.
 * @throws SyntaxError when requests for it are always refused, so that it would never match
 */
export function canonicalRulePath(path: string): string {
  const canonical = canonicaliseTarget(path, 'KEEP_UNCHANGED');
  if (!canonical.ok)
    throw new SyntaxError(`can never match, because requests like it are refused: ${canonical.reason}`);
  if (canonical.query !== '') throw new SyntaxError('can never match: rules look at the path without the query');
  if (!path.startsWith('/')) throw new SyntaxError("doesn't start with '/'");
  return canonical.path;
}

/** The canonical form of a rule's prefix: a letter is put behind it, so that its last segment is no dot segment and its last slash stays. */
export function canonicalRulePrefix(prefix: string): string {
  return canonicalRulePath(`${prefix}x`).slice(0, -1);
}

function exactRule(path: string): PathRule {
  const rule = foldExact(path);
  return {
    // Equal in canonical form is equal in every reading.
    permits: (readings) => readings.canonical === path,
    forbids(readings) {
      if (readings.canonical === path) return 'canonical';
      if (!readings.plain) {
        if (readings.stripped === rule.stripped) return 'without parameters';
        if (readings.decoded === rule.decoded) return 'decoded';
      }
      return readings.folded === rule.folded ? 'folded' : undefined;
    },
  };
}

function prefixRule(prefix: string): PathRule {
  const rule = foldPrefix(prefix);
  return {
    permits: (readings) =>
      readings.canonical.startsWith(prefix) &&
      (readings.plain ||
        (readings.stripped.startsWith(rule.stripped) &&
          readings.decoded.startsWith(rule.decoded) &&
          isFoldedPrefix(rule.folded, readings.folded))),
    forbids(readings) {
      if (readings.canonical.startsWith(prefix)) return 'canonical';
      if (!readings.plain) {
        if (readings.stripped.startsWith(rule.stripped)) return 'without parameters';
        if (readings.decoded.startsWith(rule.decoded)) return 'decoded';
      }
      return isFoldedPrefix(rule.folded, readings.folded) ? 'folded' : undefined;
    },
  };
}

/** The folded path lost its trailing slash; `/admin` is to be under the prefix `/admin/`. */
function isFoldedPrefix(prefix: string, folded: string): boolean {
  return (
    folded.startsWith(prefix) ||
    (prefix.length === folded.length + 1 && prefix.endsWith('/') && prefix.startsWith(folded))
  );
}

/**
 * A pattern cannot be folded, so the readings are tried with and without trailing slash, and without regard to case. A pattern that itself speaks of
 * `;` or `%` is spared the readings that have lost them: an allow would otherwise never match its own spelling. Not so of a path with encoded slashes, which
 * are the reason for asking: an allow of it has to match all readings, `%2F` and `/`, each with the end that it has.
 */
function regexRule(source: string): PathRule {
  const pattern = compileRegularExpression(source);
  const speaksOfParameters = source.includes(';');
  const speaksOfEscapes = source.includes('%');
  const matchesEitherWay = (path: string) =>
    pattern.matchesFolded(path) || pattern.matchesFolded(withOtherTrailingSlash(path));
  const matchesAsItIs = (path: string) => pattern.matches(path) && pattern.matchesFolded(path);
  return {
    permits: (readings) =>
      pattern.matches(readings.canonical) &&
      // Not implied: [^a] matches A, and does not without regard to case.
      matchesEitherWay(readings.canonical) &&
      (readings.plain ||
        (readings.hasSlash
          ? [readings.decoded, readings.combined, ...readings.slashed.values()].every(matchesAsItIs)
          : (speaksOfParameters || matchesEitherWay(readings.stripped)) &&
            (speaksOfEscapes || matchesEitherWay(readings.decoded)) &&
            (speaksOfParameters || speaksOfEscapes || matchesEitherWay(readings.combined)))),
    forbids(readings) {
      if (pattern.matches(readings.canonical)) return 'canonical';
      if (matchesEitherWay(readings.canonical)) return 'folded';
      if (readings.plain) return undefined;
      // Long paths are worth a look at whether there is anything to tell apart.
      if (readings.stripped !== readings.canonical && matchesEitherWay(readings.stripped)) return 'without parameters';
      if (matchesEitherWay(readings.decoded)) return 'decoded';
      if (readings.combined !== readings.decoded && matchesEitherWay(readings.combined)) return 'folded';
      for (const [name, reading] of readings.slashed) if (matchesEitherWay(reading)) return name;
      return undefined;
    },
  };
}

function withOtherTrailingSlash(path: string): string {
  if (path === '/') return path;
  return path.endsWith('/') ? path.slice(0, -1) : `${path}/`;
}
