import { type SpiffeId, trustDomainOf } from '#policies/spiffe-id.ts';
import { signedBundleAnswerSchema } from '#policies/wire/identity-api.ts';
import { successionAnswerSchema, successionPath } from '#policies/wire/succession.ts';
import { fetchUnproven, type MeshResponse, meshRequest } from '../mesh-http.ts';
import type { ProcessContext } from '../process-context.ts';
import { identityTimeoutMs, isIdentityService, parseAnswer, refusal } from './identity-client.ts';
import { openSuccession, trustIn } from './succession.ts';
import type { TrustStore } from './trust-store.ts';

/** How soon it is tried again when nothing came of it: each try is two connections, and renewals try every few seconds. */
const leastPauseMs = 5_000;

/**
 * The way back of a node that slept through a replacement of the root and can not verify the identity service any more: asks that server, which has proven nothing and is told
 * nothing, for the succession of the roots, follows it from the roots in hand, and takes today's bundle when the server then proves itself by today's roots.
 */
export class SuccessionFollower {
  readonly #trust: TrustStore;
  readonly #context: ProcessContext;
  readonly #signal: AbortSignal;
  #following: Promise<boolean> | undefined;
  #notBefore = 0;

  constructor(options: { trust: TrustStore; context: ProcessContext; signal: AbortSignal }) {
    this.#trust = options.trust;
    this.#context = options.context;
    this.#signal = options.signal;
  }

  /**
   * @param url of the server that was not verified, `https://host:port`
   * @returns whether other roots are trusted now, so that what failed may be tried again. Never rejects: what is wrong is logged
   */
  follow(url: string): Promise<boolean> {
    if (this.#following === undefined && performance.now() < this.#notBefore) return Promise.resolve(false);
    this.#following ??= this.#follow(url).finally(() => {
      this.#following = undefined;
    });
    return this.#following;
  }

  async #follow(url: string): Promise<boolean> {
    const { log } = this.#context;
    try {
      await this.#takeOver(url);
      log.warn({ sequence: this.#trust.sequence }, 'the roots were replaced while this node was away: followed');
      return true;
    } catch (err) {
      this.#notBefore = performance.now() + leastPauseMs;
      if (!this.#signal.aborted) log.warn({ err }, 'the identity service is not verified, nor led to by a succession');
      return false;
    }
  }

  async #takeOver(server: string): Promise<void> {
    const { clock } = this.#context;
    const exchange = { clock, timeoutMs: identityTimeoutMs, signal: this.#signal };
    const { held } = this.#trust;
    const answer = good(await fetchUnproven({ ...exchange, url: `${server}${successionPath}` }), server);
    const { steps } = parseAnswer(answer, successionAnswerSchema, server);
    const bundle = await openSuccession(steps, held, clock());
    const trust = trustIn({ bundle, isRevoked: held.isRevoked });
    const expect = (id: SpiffeId): boolean => isIdentityService(id) && trustDomainOf(id) === trust.own;
    const url = `${server}/v1/identity/bundle/signed`;
    const live = good(await meshRequest({ ...exchange, url, trust, expect }), server);
    const { jws } = parseAnswer(live, signedBundleAnswerSchema, server);
    await this.#trust.acceptSucceeding(jws, trust, bundle.sequence);
  }
}

function good(answer: MeshResponse, server: string): MeshResponse {
  if (answer.status !== 200) throw refusal(answer, server);
  return answer;
}
