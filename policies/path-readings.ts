import { hasEncodedSlash } from './canonical-request.ts';

/**
 * What applications behind the mesh may read in one canonical path. A deny matches if any reading does, an allow only if all do; each reading is
 * compared with the rule folded the same way, so that a rule always matches its own spelling.
 */

/** Names of readings, as verdicts show them. */
export type ReadingName = 'canonical' | 'without parameters' | 'decoded' | 'folded' | SlashReadingName;

/** Further readings of a path with encoded slashes: which escapes were decoded, and whether a backslash was taken for a slash and runs of slashes were merged. */
export type SlashReadingName =
  | 'slashes decoded'
  | 'slashes decoded to /'
  | 'slashes decoded and merged'
  | 'all but slashes decoded'
  | 'decoded to /'
  | 'decoded and merged';

const noReadings: ReadonlyMap<SlashReadingName, string> = new Map();

/** The readings of one path, each made when first asked for. */
export class PathReadings {
  /** As it is forwarded. */
  readonly canonical: string;
  #plain: boolean | undefined;
  #stripped: string | undefined;
  #decoded: string | undefined;
  #combined: string | undefined;
  #folded: string | undefined;
  #slashed: ReadonlyMap<SlashReadingName, string> | undefined;

  /** @param path canonical (canonical-request.ts) */
  constructor(path: string) {
    this.canonical = path;
  }

  /** True when it has neither `;` nor `%`: then `stripped`, `decoded` and `combined` are the canonical path itself. */
  get plain(): boolean {
    this.#plain ??= !this.canonical.includes(';') && !this.canonical.includes('%');
    return this.#plain;
  }

  /** An encoded `/` or `\` is in it. */
  get hasSlash(): boolean {
    return !this.plain && hasEncodedSlash(this.canonical);
  }

  /** Without the `;parameters` of each segment, as Tomcat and its like route. */
  get stripped(): string {
    this.#stripped ??= this.plain ? this.canonical : stripParameters(this.canonical, false);
    return this.#stripped;
  }

  /** With every escape decoded, as frameworks hand it to handlers. Throws URIError on what was not canonical. */
  get decoded(): string {
    this.#decoded ??= this.plain ? this.canonical : decodeURIComponent(this.canonical);
    return this.#decoded;
  }

  /**
   * Decoded, compatibility forms of Unicode resolved (a fullwidth solidus is a slash), cut at a decoded `?` or `#`, parameters stripped. Case and
   * trailing slash as they are.
   */
  get combined(): string {
    this.#combined ??= this.plain ? this.canonical : combine(this.canonical, false);
    return this.#combined;
  }

  /** `combined` in lower case without trailing slash: the widest reading. */
  get folded(): string {
    this.#folded ??= withoutTrailingSlash(this.combined.toLowerCase());
    return this.#folded;
  }

  /**
   * What else may be read in a path with encoded slashes; of any other, and where there is nothing else, empty. For patterns only: of exact and prefix rules, which are folded like the path, `folded`
   * matches wherever one of these does, as the canonicaliser refuses such paths with parameters or dot segments.
   */
  get slashed(): ReadonlyMap<SlashReadingName, string> {
    this.#slashed ??= this.hasSlash ? this.#readSlashes() : noReadings;
    return this.#slashed;
  }

  /** The reading of that name. */
  named(name: ReadingName): string {
    switch (name) {
      case 'canonical':
        return this.canonical;
      case 'without parameters':
        return this.stripped;
      case 'decoded':
        return this.decoded;
      case 'folded':
        return this.folded;
      default:
        return this.slashed.get(name) ?? this.decoded;
    }
  }

  /** Each once, and none that has another name: a long path is matched with every pattern. */
  #readSlashes(): ReadonlyMap<SlashReadingName, string> {
    const { canonical, decoded, combined } = this;
    const slashes = canonical.replaceAll('%2F', '/').replaceAll('%5C', '\\');
    const all: readonly (readonly [SlashReadingName, string])[] = [
      ['all but slashes decoded', decodeURIComponent(canonical.replaceAll(/%(?=2F|5C)/g, '%25'))],
      ['slashes decoded', slashes],
      ['slashes decoded to /', withSlashes(slashes)],
      ['slashes decoded and merged', stripParameters(withSlashes(slashes), false)],
      ['decoded to /', withSlashes(decoded)],
      ['decoded and merged', stripParameters(withSlashes(decoded), false)],
    ];
    const known = new Set([canonical, decoded, combined]);
    return new Map(all.filter(([, reading]) => known.size < known.add(reading).size));
  }
}

/** The readings of a canonical path, lazily. */
export function readingsOf(path: string): PathReadings {
  return new PathReadings(path);
}

/** A rule's path, folded in the ways of PathReadings. */
export interface FoldedRule {
  readonly canonical: string;
  readonly stripped: string;
  readonly decoded: string;
  readonly folded: string;
}

/** Folds the canonical path of an exact rule. */
export function foldExact(path: string): FoldedRule {
  const { canonical, stripped, decoded, folded } = new PathReadings(path);
  return { canonical, stripped, decoded, folded };
}

/** Folds the canonical path of a prefix rule: its last segment may go on, so neither dots nor slash at its end mean anything yet. */
export function foldPrefix(prefix: string): FoldedRule {
  return {
    canonical: prefix,
    stripped: stripParameters(prefix, true),
    decoded: decodeURIComponent(prefix),
    folded: combine(prefix, true).toLowerCase(),
  };
}

/** As those read it to whom a backslash is a slash. */
function withSlashes(path: string): string {
  return path.replaceAll('\\', '/');
}

/** `/` stays. */
function withoutTrailingSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

function combine(path: string, isOpen: boolean): string {
  const decoded = decodeURIComponent(path);
  const compatible = withSlashes(/[^\x00-\x7f]/.test(decoded) ? decoded.normalize('NFKC') : decoded);
  // Whoever parses a decoded path again takes what follows for query or fragment.
  const end = compatible.search(/[?#]/);
  return stripParameters(end < 0 ? compatible : compatible.slice(0, end), isOpen);
}

/**
 * Cuts each segment at its `;`, then resolves what that uncovers: empty and dot segments.
 * @param isOpen the last segment is the beginning of one
 * @throws RangeError when dot segments climb above the root: the evaluator denies
 */
function stripParameters(path: string, isOpen: boolean): string {
  const segments = path.split('/');
  const last = segments.length - 1;
  const kept: string[] = [];
  let tail = '';
  for (let at = 1; at <= last; at++) {
    const raw = segments[at] ?? '';
    const cut = raw.indexOf(';');
    const segment = cut < 0 ? raw : raw.slice(0, cut);
    if (at === last && (isOpen || segment === '')) {
      tail = segment;
      break;
    }
    if (segment === '..') {
      if (kept.pop() === undefined) throw new RangeError('dot segments climb above the root');
    } else if (segment !== '' && segment !== '.') {
      kept.push(segment);
    }
    if (at === last && segment !== '.' && segment !== '..') return `/${kept.join('/')}`;
  }
  return kept.length === 0 ? `/${tail}` : `/${kept.join('/')}/${tail}`;
}
