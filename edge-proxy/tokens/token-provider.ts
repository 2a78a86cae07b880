import { hash } from 'node:crypto';
import type { IssuerKey } from '#policies/jwks.ts';
import { candidateKeys, readToken, type TokenExpectation } from '#policies/jwt-token.ts';
import type { FeedJwtProvider, TokenLocation } from '#policies/wire/feed.ts';
import type { Clock } from '#runtime/clock.ts';
import { isSignedBy } from './token-signature.ts';

/** A token that has been verified. */
export interface VerifiedToken {
  readonly claims: Readonly<Record<string, unknown>>;
  /** Base64url, as it came. */
  readonly payload: string;
  readonly untilMs: number;
}

/** Whose tokens the local service asks for. Verified ones are remembered by their hash until they end, so that a caller pays for a signature once. */
export class TokenProvider {
  readonly name: string;
  readonly locations: readonly TokenLocation[];
  readonly forwarding: FeedJwtProvider['forwarding'];
  readonly #expected: TokenExpectation;
  readonly #keys: readonly IssuerKey[];
  readonly #flaw: string | undefined;
  readonly #cacheSize: number;
  readonly #verified = new Map<string, VerifiedToken>();
  readonly #refused = new Map<string, string>();
  readonly #clock: Clock;

  constructor(provider: FeedJwtProvider, clock: Clock) {
    this.name = provider.name;
    this.locations = provider.locations;
    this.forwarding = provider.forwarding;
    this.#expected = {
      issuer: provider.issuer,
      audiences: provider.audiences,
      clockSkewMs: provider.clockSkewSeconds * 1_000,
    };
    // zod's optionals carry `| undefined`, which JSON can't.
    this.#keys = provider.keys as readonly IssuerKey[];
    this.#flaw = provider.flaw;
    this.#cacheSize = provider.cacheSize;
    this.#clock = clock;
  }

  /** @returns a text: why it is refused */
  verify(token: string): VerifiedToken | string {
    if (this.#flaw !== undefined) return this.#flaw;
    const nowMs = this.#clock();
    const key = hash('sha256', token, 'base64');
    const known = this.#verified.get(key);
    if (known !== undefined && nowMs < known.untilMs) return known;
    const facts = readToken(token, this.#expected, nowMs);
    if (typeof facts === 'string') return facts;
    // Only what costs a signature is remembered of those that are refused; a clock may make the others good.
    const refused = this.#refused.get(key);
    if (refused !== undefined) return refused;
    const candidates = candidateKeys(this.#keys, facts);
    if (candidates.length === 0) return 'the key set has no such key';
    if (!isSignedBy(candidates, facts)) {
      keep(this.#refused, key, 'the signature of the token is not by a key of the set', this.#cacheSize);
      return 'the signature of the token is not by a key of the set';
    }
    const { claims, payload, untilMs } = facts;
    const verified = { claims, payload, untilMs };
    keep(this.#verified, key, verified, this.#cacheSize);
    return verified;
  }
}

/** The oldest goes first. */
function keep<T>(kept: Map<string, T>, key: string, value: T, limit: number): void {
  if (kept.size >= limit) kept.delete(kept.keys().next().value ?? '');
  kept.set(key, value);
}
