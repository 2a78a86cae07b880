import { decodeJwt, decodeProtectedHeader, errors, jwtVerify } from 'jose';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { parseStrictJson } from '#policies/strict-json.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import type { JwtIssuerConfig } from './attestation-config.ts';
import type { Attested } from './attested.ts';
import type { Claims } from './claims.ts';
import { IssuerKeys } from './jwks.ts';

/** Attestation by a JWT: of a Kubernetes service account, of a cloud, of whatever has a JWKS (RFC 7519, RFC 8725, OpenID Connect Core 3.1.3.7). */
export class JwtAttestor {
  readonly #issuers: ReadonlyMap<string, { readonly config: JwtIssuerConfig; readonly keys: IssuerKeys }>;
  readonly #clock: Clock;

  constructor(issuers: readonly JwtIssuerConfig[], world: { clock: Clock; log: Logger }) {
    this.#issuers = new Map(
      issuers.map((config) => [config.issuer, { config, keys: new IssuerKeys(config.keys, world) }]),
    );
    this.#clock = world.clock;
  }

  async attest({ token }: { readonly token: string }): Promise<Attested> {
    const issuer = this.#issuers.get(claimedIssuer(token));
    if (issuer === undefined)
      throw refused(`its issuer ${quote(claimedIssuer(token))} is not one of the configuration`);
    const { config, keys } = issuer;
    // Before any key is asked for: what can't be right must not make us fetch.
    requireAlgorithm(token, config);
    const nowMs = this.#clock();
    const { payload } = await jwtVerify(token, (header, input) => keys.find(header, input), {
      algorithms: [...config.algorithms],
      issuer: config.issuer,
      audience: config.audience,
      clockTolerance: config.clockSkewSeconds,
      currentDate: new Date(nowMs),
      requiredClaims: ['exp', 'iss', 'aud', 'sub'],
    }).catch((error: unknown) => {
      throw error instanceof MeshError ? error : refused(flawOf(error, config), error);
    });
    const expMs = (payload.exp ?? 0) * 1_000;
    if (expMs - nowMs > config.maxTokenLifeSeconds * 1_000) {
      throw refused(
        `it is good until ${new Date(Math.min(expMs, 8.64e15)).toISOString()}, over the limit of ${config.maxTokenLifeSeconds} s (max-token-life)`,
      );
    }
    return {
      claims: strictClaims(token),
      mappings: config.mappings,
      source: config.issuer,
      subject: String(payload.sub),
      boundUntilMs: expMs + config.clockSkewSeconds * 1_000,
    };
  }
}

/** What of a token is signed: another signature over the same (ECDSA has two) is no other token. */
export function signedPart(token: string): string {
  return token.slice(0, token.lastIndexOf('.'));
}

/** `iss`, unverified: it says by whose keys to verify, and that it is his is then what is verified. */
function claimedIssuer(token: string): string {
  try {
    return decodeJwt(token).iss ?? '';
  } catch (cause) {
    throw refused('it can not be read as a JWT', cause);
  }
}

function requireAlgorithm(token: string, { algorithms }: JwtIssuerConfig): void {
  let alg: unknown;
  try {
    ({ alg } = decodeProtectedHeader(token));
  } catch (cause) {
    throw refused('its header can not be read', cause);
  }
  if (typeof alg !== 'string' || !algorithms.includes(alg)) {
    throw refused(`it is signed by ${quote(String(alg))}; ${algorithms.join(', ')} are accepted`);
  }
}

/** Of two claims of one name another reader may take the other (RFC 7519 4). */
function strictClaims(token: string): Claims {
  try {
    const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
    return parseStrictJson(payload) as Claims; // jose has seen that it is an object
  } catch (cause) {
    throw refused(cause instanceof MeshError ? `of its claims: ${cause.message}` : 'its claims can not be read', cause);
  }
}

/** jose's own words are for developers; and none may hold the token. */
function flawOf(error: unknown, { audience, clockSkewSeconds }: JwtIssuerConfig): string {
  if (error instanceof errors.JWTExpired) return 'it has expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.reason === 'missing') return `it has no ${quote(error.claim)}`;
    if (error.claim === 'aud') return `it is not for the audience ${quote(audience)}`;
    if (error.claim === 'nbf') return `it is not valid yet (nbf; ${clockSkewSeconds} s of skew are let pass)`;
    return `its ${quote(error.claim)} does not do`;
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature does not verify';
  if (error instanceof errors.JWKSMultipleMatchingKeys) return 'it names no key, and the issuer has several';
  return 'it is no JWT that can be verified';
}

function refused(flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2107', `The JWT is refused: ${flaw.replace(/\.$/, '')}.`, { cause });
}
