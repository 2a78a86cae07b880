import type { TokenReading } from '#policies/jwt-rule.ts';
import { sameName } from '../http1/header-kind.ts';
import { findToken, type TokenBearer } from './token-location.ts';
import type { TokenProvider, VerifiedToken } from './token-provider.ts';

/** The tokens of one request: read when a rule asks, by the providers that are in force then. */
export class RequestTokens {
  readonly #providers: () => ReadonlyMap<string, TokenProvider> | undefined;
  readonly #bearer: TokenBearer;
  /** Those that rules have asked for and that hold. */
  readonly #verified = new Map<TokenProvider, VerifiedToken>();

  /** @param providers those in force when it is asked, by name */
  constructor(providers: () => ReadonlyMap<string, TokenProvider> | undefined, bearer: TokenBearer) {
    this.#providers = providers;
    this.#bearer = bearer;
  }

  /** For rules: policies/jwt-rule.ts. */
  readonly token = (name: string): TokenReading => {
    const provider = this.#providers()?.get(name);
    if (provider === undefined) return { valid: false, flaw: 'there is no such jwt-provider' };
    const found = findToken(provider.locations, this.#bearer);
    if (found === undefined) return { valid: false, flaw: 'the request carries no token' };
    if ('flaw' in found) return { valid: false, flaw: found.flaw };
    const verified = provider.verify(found.token);
    if (typeof verified === 'string') return { valid: false, flaw: verified };
    this.#verified.set(provider, verified);
    return { valid: true, claims: verified.claims };
  };

  /** When the first of the tokens that it was let in with ends, ms since the epoch; undefined: it needed none. */
  get untilMs(): number | undefined {
    if (this.#verified.size === 0) return undefined;
    return Math.min(...[...this.#verified.values()].map(({ untilMs }) => untilMs));
  }

  /**
   * What the application gets to see (as from Envoy): the header of a token that was verified goes, unless its location forwards it; claims go into the header that
   * the provider names, and whatever a caller has put there goes in any case.
   * @param headers flat: name, value, …
   */
  forward(headers: readonly string[]): string[] {
    const dropped = new Set<string>();
    for (const { forwarding } of this.#providers()?.values() ?? []) {
      if (forwarding !== undefined) dropped.add(forwarding.headerName);
    }
    for (const { locations } of this.#verified.keys()) {
      for (const location of locations) {
        if ('header' in location && !location.header.forward) dropped.add(location.header.name);
      }
    }
    const kept: string[] = [];
    for (let at = 0; at < headers.length; at += 2) {
      const name = headers[at] ?? '';
      if (isAmong(name, dropped)) continue;
      kept.push(name, headers[at + 1] ?? '');
    }
    for (const [{ forwarding }, { payload }] of this.#verified) {
      if (forwarding !== undefined) kept.push(forwarding.headerName, forwarding.pad ? padded(payload) : payload);
    }
    return kept;
  }
}

/** Also under the names that gateways of CGI's kind take for it: with `_` for `-`. */
function isAmong(name: string, lowerCaseNames: ReadonlySet<string>): boolean {
  const dashed = name.replaceAll('_', '-');
  for (const one of lowerCaseNames) {
    if (one.length === name.length && sameName(dashed, one.replaceAll('_', '-'))) return true;
  }
  return false;
}

/** RFC 4648 3.2. */
function padded(base64url: string): string {
  return base64url.padEnd(Math.ceil(base64url.length / 4) * 4, '=');
}
