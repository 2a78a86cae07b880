import { CompactSign } from 'jose';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { IssueJwtRequest } from '#policies/wire/identity-api.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { type Attestation, type Evidence, entitle } from '../attestation.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { JwtCounts } from './jwt-counts.ts';
import type { SigningKeys } from './signing-keys.ts';

/** Bounds on the lifetime of JWT-SVIDs, in seconds: bearer tokens live short. */
export const jwtTtlBounds = { floor: 10, default: 300, ceiling: 3_600 } as const;

/** A token that may be handed out. */
export interface IssuedJwtSvid {
  readonly spiffeId: SpiffeId;
  readonly token: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** A request for a JWT-SVID with all that its sender shows. */
export interface JwtCall extends Omit<Evidence, 'service'> {
  readonly request: IssueJwtRequest;
  readonly remoteAddress: string;
}

/** What issuing tokens is made of. */
export interface JwtIssuanceParts {
  readonly idOf: (service: string) => SpiffeId;
  readonly keys: Pick<SigningKeys, 'active'>;
  readonly attestation: Attestation;
  readonly audit: IdentityAudit;
  readonly counts: JwtCounts;
  /** Whether an operator revoked this SPIFFE ID. */
  readonly isRevoked: (id: SpiffeId) => boolean;
  /** Whether this process may still sign; absent: it is the only one. */
  readonly confirm?: (() => Promise<void>) | undefined;
  readonly context: Pick<ProcessContext, 'clock' | 'randomBytes'>;
}

/** Issues JWT-SVIDs, to whom X.509-SVIDs are issued: the ID comes from the attestation, held to the grant, and each token is in the audit log by its `jti`. */
export class JwtIssuance {
  readonly #parts: JwtIssuanceParts;

  constructor(parts: JwtIssuanceParts) {
    this.#parts = parts;
  }

  /** @throws MeshError as attestation.ts does, SLV-5002, SLV-2150 */
  async issue(call: JwtCall): Promise<IssuedJwtSvid> {
    const { attestation, audit, counts, idOf, isRevoked } = this.#parts;
    const facts: Record<string, string> = { remote: call.remoteAddress };
    try {
      const service = parseServiceName(call.request.service);
      facts['service'] = service;
      const attested = await attestation.attest({ ...call, service });
      facts['evidence'] = attested.kind;
      if (attested.kind !== 'open') facts['node'] = attested.node.id;
      entitle(attested, service);
      const spiffeId = idOf(service);
      if (isRevoked(spiffeId)) throw new MeshError('SLV-2123', `${spiffeId} was revoked.`);
      return await this.#sign(spiffeId, call.request, facts);
    } catch (error) {
      if (!isMeshError(error)) throw error;
      counts.refused(error.code);
      await audit.append({ event: 'jwt-svid-refused', ...facts, code: error.code, reason: error.message });
      throw error;
    }
  }

  async #sign(
    spiffeId: SpiffeId,
    { audience, ttlSeconds }: IssueJwtRequest,
    facts: Readonly<Record<string, string>>,
  ): Promise<IssuedJwtSvid> {
    const { keys, audit, counts, context } = this.#parts;
    const iat = Math.floor(context.clock() / 1_000);
    const asked = ttlSeconds ?? jwtTtlBounds.default;
    const exp = iat + Math.min(Math.max(asked, jwtTtlBounds.floor), jwtTtlBounds.ceiling);
    const jti = Buffer.from(context.randomBytes(16)).toString('hex');
    const { kid, privateKey } = keys.active;
    const token = await new CompactSign(Buffer.from(JSON.stringify({ sub: spiffeId, aud: audience, iat, exp, jti })))
      .setProtectedHeader({ alg: 'ES256', kid, typ: 'JWT' })
      .sign(privateKey);
    await this.#parts.confirm?.();
    const expiresAtMs = exp * 1_000;
    await audit.append({
      event: 'jwt-svid-issued',
      ...facts,
      spiffeId,
      audience,
      jti,
      kid,
      expiresAt: new Date(expiresAtMs).toISOString(),
    });
    counts.issued();
    return { spiffeId, token, issuedAtMs: iat * 1_000, expiresAtMs };
  }
}
