import type { KeyObject } from 'node:crypto';
import { compactVerify } from 'jose';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type NodeProof, nodeProofSchema } from '#policies/wire/identity-api.ts';
import type { Clock } from '#runtime/clock.ts';
import { sha256Hex } from '#runtime/svid/node-proof.ts';

/** How far a proof's time may be from ours. */
const windowSeconds = 60;
/** Proofs remembered at most; the rate limits let fewer through within the window. */
const maxRemembered = 200_000;
const maxProofBytes = 4_096;

/**
 * Verifies proofs of node keys (policies/wire/identity-api.ts) and accepts each once. What is remembered is lost at a restart: within the minute after
 * one, a proof that was overheard could be shown again, which gains nothing, for it binds the very request and the CSR in it the very key.
 */
export class NodeProofs {
  readonly #clock: Clock;
  /** By time of end: what was accepted, until it would be too old anyway. */
  readonly #seen = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Whose key a proof claims to be of. Nothing is proven by it: it says which key to verify with.
   * @throws MeshError SLV-2110
   */
  claimedNode(jws: string): string {
    const claims = readClaims(Buffer.from(jws.slice(0, maxProofBytes).split('.')[1] ?? '', 'base64url'));
    if (claims.sub === undefined) throw invalid('it names no node');
    return claims.sub;
  }

  /**
   * @param proof.nodeId  what `sub` must be; undefined when joining
   * @param proof.content what `hash` must be of: the join token, or the request's body as received
   * @throws MeshError SLV-2110 saying what is wrong, SLV-2160 when too many proofs are remembered
   */
  async verify(
    jws: string,
    key: KeyObject,
    proof: { readonly nodeId: string | undefined; readonly content: string | Uint8Array },
  ): Promise<void> {
    if (jws.length > maxProofBytes) throw invalid(`it is longer than ${maxProofBytes} bytes`);
    const claims = readClaims(await verifiedPayload(jws, key));
    if (claims.sub !== proof.nodeId) throw invalid('it is of another node');
    if (claims.hash !== sha256Hex(proof.content)) throw invalid('it is for another request');
    const nowSeconds = this.#clock() / 1_000;
    const offSeconds = Math.round(claims.iat - nowSeconds);
    if (Math.abs(offSeconds) > windowSeconds) {
      throw invalid(
        `its time is ${Math.abs(offSeconds)} s ${offSeconds > 0 ? 'ahead of' : 'behind'} ours; ${windowSeconds} s are accepted`,
      );
    }
    this.#acceptOnce(`${proof.nodeId ?? claims.hash} ${claims.jti}`, claims.iat + windowSeconds, nowSeconds);
  }

  #acceptOnce(id: string, endSeconds: number, nowSeconds: number): void {
    for (const [old, end] of this.#seen) {
      if (end >= nowSeconds) break;
      this.#seen.delete(old);
    }
    if (this.#seen.has(id)) throw invalid('it was used before');
    if (this.#seen.size >= maxRemembered) {
      throw new MeshError('SLV-2160', 'Too many proofs within a minute.', {
        detail: { retryAfterSeconds: windowSeconds },
      });
    }
    this.#seen.set(id, endSeconds + 1);
  }
}

async function verifiedPayload(jws: string, key: KeyObject): Promise<Uint8Array> {
  try {
    return (await compactVerify(jws, key, { algorithms: ['ES256'] })).payload;
  } catch (cause) {
    throw invalid('it is not signed (ES256) by the key of the node', cause);
  }
}

function readClaims(payload: Uint8Array): NodeProof {
  try {
    return nodeProofSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
  } catch (cause) {
    throw invalid('its claims are not of the known form', cause);
  }
}

function invalid(flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2110', `The proof of the node's key is refused: ${flaw}.`, { cause });
}
