import type { Context } from 'hono';
import { nodeProofHeader } from '#policies/wire/identity-api.ts';
import type { ShownProof } from '../attestation.ts';
import type { IdentityEnv } from './app.ts';

/**
 * The proof of the node key that a request shows, if any. To be called once before the body is parsed: the proof is over the bytes as received, of which Hono
 * would else keep the parsed JSON only. A renewal shows none, and its bytes are not kept twice.
 */
export async function shownProof(c: Context<IdentityEnv>): Promise<ShownProof | undefined> {
  const jws = c.req.header(nodeProofHeader);
  return jws === undefined ? undefined : { jws, body: new Uint8Array(await c.req.arrayBuffer()) };
}
