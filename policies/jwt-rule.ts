import type { ClaimMatch, JwtRequirement, TokenMatch } from './intention.ts';

/** What a request shows of one provider's tokens: the claims of a verified one, or why there is none. */
export type TokenReading =
  | { readonly valid: true; readonly claims: Readonly<Record<string, unknown>> }
  | { readonly valid: false; readonly flaw: string };

/** How rules look at tokens. Absent where nobody reads them: then no requirement is met. */
export interface TokenSource {
  token?: ((provider: string) => TokenReading) | undefined;
}

/** What a request's tokens are to a requirement. */
export type TokenStanding =
  /** A verified token makes all claims. */
  | { readonly kind: 'met' }
  /** There is a verified token, and none makes all claims. */
  | { readonly kind: 'unmet'; readonly flaw: string }
  /** There is no verified token. */
  | { readonly kind: 'no-token'; readonly flaw: string };

/** A requirement, compiled. */
export type JwtRule = (request: TokenSource) => TokenStanding;

const known = {
  requirement: new Set(['providers']),
  provider: new Set(['name', 'verifyClaims']),
  claim: new Set(['path', 'value']),
};

/** @throws SyntaxError for what is not understood */
export function compileJwtRule(requirement: JwtRequirement): JwtRule {
  refuseUnknown(requirement, known.requirement);
  const { providers } = requirement;
  if (!Array.isArray(providers) || providers.length === 0) throw new SyntaxError('its JWT names no provider');
  for (const provider of providers) {
    refuseUnknown(provider, known.provider);
    for (const claim of provider.verifyClaims ?? []) {
      refuseUnknown(claim, known.claim);
      if (claim.path.length === 0) throw new SyntaxError('a claim of its JWT has no path');
    }
  }
  return (request) => standing(request, providers);
}

function standing({ token }: TokenSource, providers: readonly TokenMatch[]): TokenStanding {
  let kind: 'unmet' | 'no-token' = 'no-token';
  const flaws: string[] = [];
  for (const { name, verifyClaims = [] } of providers) {
    const reading: TokenReading = token?.(name) ?? { valid: false, flaw: 'tokens are not read here' };
    const flaw = reading.valid ? missing(reading.claims, verifyClaims) : reading.flaw;
    if (flaw === undefined) return { kind: 'met' };
    if (reading.valid) kind = 'unmet';
    flaws.push(`${name}: ${flaw}`);
  }
  return { kind, flaw: flaws.join('; ') };
}

function missing(claims: Readonly<Record<string, unknown>>, wanted: readonly ClaimMatch[]): string | undefined {
  const first = wanted.find((claim) => !makes(claims, claim));
  return first === undefined
    ? undefined
    : `the token does not say that ${first.path.join('.')} is ${JSON.stringify(first.value)}`;
}

/** Consul: a text is equal, a list contains. Anything else is no match. */
function makes(claims: Readonly<Record<string, unknown>>, { path, value }: ClaimMatch): boolean {
  let at: unknown = claims;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, name)) return false;
    at = (at as Readonly<Record<string, unknown>>)[name];
  }
  return at === value || (Array.isArray(at) && at.includes(value));
}

function refuseUnknown(value: object, names: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!names.has(key)) throw new SyntaxError(`unknown field ${key}`);
}
