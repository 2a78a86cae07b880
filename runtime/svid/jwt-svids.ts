import { MeshError } from '#policies/errors/mesh-error.ts';
import type { JwtSvidFacts } from '#policies/jwt-svid.ts';
import { type SpiffeId, serviceIdentityOf } from '#policies/spiffe-id.ts';
import type { ProcessContext } from '../process-context.ts';
import type { IdentityClient } from './identity-client.ts';
import { validateJwtSvid } from './jwt-svid.ts';
import type { Svid } from './svid.ts';
import type { TrustStore } from './trust-store.ts';

/** A JWT-SVID of one of our services: a bearer token, never logged. */
export interface JwtSvid {
  readonly spiffeId: SpiffeId;
  readonly token: string;
  readonly audience: readonly string[];
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** What JWT-SVIDs are fetched by. */
export interface JwtSvidsOptions {
  readonly client: Pick<IdentityClient, 'issueJwt'>;
  readonly trust: TrustStore;
  readonly datacenter: string;
  readonly nodeId: () => string | undefined;
  readonly svidOf: (service: string) => Svid | undefined;
  readonly context: Pick<ProcessContext, 'clock' | 'log'>;
}

/** Tokens held at most; the oldest goes first. */
const maxHeld = 1_024;

/**
 * JWT-SVIDs of this node's services. A token is used again for the same audience until half of its life is over, and to its end while the identity service does not
 * answer; one that is being fetched is fetched once.
 */
export class JwtSvids {
  readonly #options: JwtSvidsOptions;
  readonly #held = new Map<string, JwtSvid>();
  readonly #underWay = new Map<string, Promise<JwtSvid>>();

  constructor(options: JwtSvidsOptions) {
    this.#options = options;
  }

  /**
   * @param audience whom the token is for: one name, if at all possible
   * @param ttlSeconds asked lifetime of a fresh one; the identity service has its bounds
   * @throws MeshError as IdentityClient does, SLV-2013 when what came back is not what was asked for
   */
  async fetch(service: string, audience: readonly string[], ttlSeconds?: number): Promise<JwtSvid> {
    const key = JSON.stringify([service, audience, ttlSeconds]);
    const held = this.#held.get(key);
    const nowMs = this.#options.context.clock();
    if (held !== undefined && this.#isGood(held, nowMs) && nowMs < (held.issuedAtMs + held.expiresAtMs) / 2)
      return held;
    try {
      return await this.#fetchOnce(key, { service, audience: [...audience], ttlSeconds });
    } catch (err) {
      if (held === undefined || !this.#isGood(held, this.#options.context.clock())) throw err;
      this.#options.context.log.warn({ err, service }, 'JWT-SVID not renewed; the one in hand stays in use');
      return held;
    }
  }

  #isGood({ spiffeId, expiresAtMs }: JwtSvid, nowMs: number): boolean {
    return nowMs < expiresAtMs && !this.#options.trust.isRevoked('', spiffeId);
  }

  #fetchOnce(
    key: string,
    asked: { service: string; audience: string[]; ttlSeconds: number | undefined },
  ): Promise<JwtSvid> {
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    const fetching = this.#fetch(asked)
      .then((svid) => {
        this.#held.delete(key);
        this.#held.set(key, svid);
        const [oldest] = this.#held.keys();
        if (this.#held.size > maxHeld && oldest !== undefined) this.#held.delete(oldest);
        return svid;
      })
      .finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, fetching);
    return fetching;
  }

  async #fetch(asked: { service: string; audience: string[]; ttlSeconds: number | undefined }): Promise<JwtSvid> {
    const { client, trust, nodeId, svidOf } = this.#options;
    const { service, audience, ttlSeconds } = asked;
    const request = { service, audience, ...(ttlSeconds === undefined ? {} : { ttlSeconds }) };
    const issued = await client.issueJwt(request, { nodeId: nodeId(), svid: svidOf(service) });
    await trust.acceptSigned(issued.bundle); // first: it may hold the very key that signed the token
    const facts = await this.#receive(issued.token, service, audience);
    return {
      spiffeId: facts.spiffeId,
      token: issued.token,
      audience,
      issuedAtMs: Date.parse(issued.issuedAt),
      expiresAtMs: facts.expiresAtMs,
    };
  }

  /** Never handed on unverified (invariant 2). */
  async #receive(token: string, service: string, audience: readonly string[]): Promise<JwtSvidFacts> {
    const { trust, datacenter, context } = this.#options;
    try {
      const expected = { audience: audience[0] ?? '', trust, nowMs: context.clock() };
      const facts = await validateJwtSvid(token, expected);
      const is = serviceIdentityOf(facts.spiffeId);
      if (is?.service !== service || is.trustDomain !== trust.own || is.datacenter !== datacenter) {
        throw new MeshError('SLV-2013', `it is of ${facts.spiffeId}`);
      }
      return facts;
    } catch (cause) {
      const reason = cause instanceof MeshError ? cause.message : 'it cannot be read';
      throw new MeshError('SLV-2013', `The JWT-SVID issued for ${service} is refused: ${reason}`, { cause });
    }
  }
}
