import { queryParameter } from '#policies/routing/route-match.ts';
import type { FeedHashPolicy } from '#policies/wire/feed-routing.ts';
import { headerValues } from '../http1/forwardable-headers.ts';
import { keyHash } from '../resilience/key-hash.ts';

/** What of a request may hold it together with others. */
export interface HashedRequest {
  /** name, value, … */
  readonly headers: readonly string[];
  /** '' or from the `?` on. */
  readonly query: string;
  /** Of the application that asks. */
  readonly sourceIp: string;
}

/** What its hash policies make of a request. */
export interface RequestHash {
  /** Undefined: it has none of what is hashed, so any instance will do. */
  readonly hash: number | undefined;
  /** A cookie that the request should have had: to go down with the answer, as the value of Set-Cookie. */
  readonly cookie: string | undefined;
}

/** Hashes what the policies name, in their order, all of it together (Envoy); a terminal one that gives something is the last. @param newKey makes a value for a cookie */
export function requestHash(
  policies: readonly FeedHashPolicy[],
  request: HashedRequest,
  newKey: () => string,
): RequestHash {
  let hash: number | undefined;
  let cookie: string | undefined;
  for (const policy of policies) {
    let text = hashedText(policy, request);
    if (text === undefined && policy.cookie !== undefined && policy.name !== undefined && cookie === undefined) {
      text = newKey();
      cookie = newCookie(policy.name, text, policy.cookie);
    }
    if (text === undefined) continue;
    const own = keyHash(text);
    hash = hash === undefined ? own : (((hash << 1) | (hash >>> 31)) ^ own) >>> 0;
    if (policy.terminal === true) break;
  }
  return { hash, cookie };
}

function hashedText(
  { on, name = '' }: FeedHashPolicy,
  { headers, query, sourceIp }: HashedRequest,
): string | undefined {
  switch (on) {
    case 'header': {
      const lines = headerValues(headers, name.toLowerCase());
      // In whatever order they came, as with Envoy.
      return lines.length === 0 ? undefined : lines.sort().join(',');
    }
    case 'cookie':
      return cookieValue(headerValues(headers, 'cookie'), name);
    case 'query-parameter':
      return queryParameter(query, name);
    case 'source-ip':
      return sourceIp === '' ? undefined : sourceIp;
  }
}

function cookieValue(lines: readonly string[], name: string): string | undefined {
  for (const line of lines) {
    for (const pair of line.split(';')) {
      const equals = pair.indexOf('=');
      if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
    }
  }
  return undefined;
}

/** @param lasts how long, 0: as long as the client does; and for which path */
function newCookie(name: string, value: string, lasts: { readonly ttlMs: number; readonly path?: string }): string {
  const age = lasts.ttlMs === 0 ? '' : `; Max-Age=${Math.max(1, Math.round(lasts.ttlMs / 1_000))}`;
  return `${name}=${value}${lasts.path === undefined ? '' : `; Path=${lasts.path}`}${age}; HttpOnly`;
}
