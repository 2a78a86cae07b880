import type { TokenLocation } from '#policies/wire/feed.ts';
import { headerLookalikes, headerValues } from '../http1/forwardable-headers.ts';

/** What of a request tokens may stand in. */
export interface TokenBearer {
  /** Flat: name, value, … */
  readonly headers: readonly string[];
  /** '' or begins with `?`. */
  readonly query: string;
}

/** Most tokens of a request that are looked at before it is refused. */
const maxFound = 2;

/**
 * The one token that a request carries at some places. A second that is different is refused, and one under a name that looks like that of the header (`_` for `-`):
 * which of the two the application reads, nobody knows.
 * @returns undefined for none, a flaw for more than one
 */
export function findToken(
  locations: readonly TokenLocation[],
  bearer: TokenBearer,
): { readonly token: string } | { readonly flaw: string } | undefined {
  const found = new Set<string>();
  for (const location of locations) {
    if ('header' in location && headerLookalikes(bearer.headers, location.header.name).length > 0)
      return { flaw: 'the request carries a header that looks like that of the token' };
    for (const token of tokensAt(location, bearer)) {
      found.add(token);
      if (found.size >= maxFound) return { flaw: 'the request carries more than one token' };
    }
  }
  const [token] = found;
  return token === undefined ? undefined : { token };
}

function tokensAt(location: TokenLocation, { headers, query }: TokenBearer): string[] {
  if ('header' in location) {
    const { name, valuePrefix } = location.header;
    return headerValues(headers, name)
      .filter((value) => value.startsWith(valuePrefix))
      .map((value) => value.slice(valuePrefix.length).trim());
  }
  if ('queryParam' in location) return query === '' ? [] : new URLSearchParams(query).getAll(location.queryParam);
  return headerValues(headers, 'cookie').flatMap((line) => cookiesOf(line, location.cookie));
}

/** RFC 6265 5.4: `name=value` between semicolons; a value may stand in quotes. */
function cookiesOf(line: string, wanted: string): string[] {
  return line.split(';').flatMap((pair) => {
    const at = pair.indexOf('=');
    if (at < 0 || pair.slice(0, at).trim() !== wanted) return [];
    const value = pair.slice(at + 1).trim();
    return [value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value];
  });
}
